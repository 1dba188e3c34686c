package main

import (
	"context"
	"fmt"
	"os"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// asks is how often a list is asked for.
const asks = 20

// standing measures what pods cost that do nothing, and what it costs to ask about them.
func (b *bench) standing(ctx context.Context, s *subject) error {
	r := &b.results
	base, mounts, free := s.processes.find(), countMounts(), available()
	r.add(s, emptyMemory, float64(pss(base))/(1<<20))
	var first, last []time.Duration // of the pods, the first and the last tenth
	tenth := max(1, b.pods/10)
	up := func(i int, took time.Duration) {
		switch {
		case i < tenth:
			first = append(first, took)
		case i >= b.pods-tenth:
			last = append(last, took)
		}
	}
	before := pss(base)
	return b.crew(ctx, s, b.pods, up, func(pods []pod) error {
		n, now := float64(len(pods)), s.processes.find()
		r.add(s, slowdown, median(seconds(last))/median(seconds(first)))
		r.add(s, podMemory, float64(pss(now)-before)/1024/n)
		r.add(s, podMachineMemory, float64(free-available())/1024/n)
		r.add(s, podMounts, float64(countMounts()-mounts)/n)
		r.add(s, podProcesses, float64(len(now)-len(base))/n)
		if err := b.quiet(ctx, s); err != nil {
			return err
		}
		return b.ask(ctx, s, pods)
	})
}

// quiet measures what the runtime does while nobody asks anything of it.
func (b *bench) quiet(ctx context.Context, s *subject) error {
	now := s.processes.find()
	own := cpu(now)
	select {
	case <-time.After(b.idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.results.time(s, idleCPU, time.Duration(float64(cpu(now)-own)*10/b.idle.Seconds()))
	return nil
}

// ask measures lists, and then a kubelet's mix of questions.
func (b *bench) ask(ctx context.Context, s *subject, pods []pod) error {
	questions := []struct {
		m    metric
		call func() error
	}{
		{listPods, func() error { return s.listPods(ctx, nil) }},
		{listContainers, func() error { return s.listContainers(ctx, nil) }},
		{listStats, func() error {
			_, err := s.cri.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{})
			return err
		}},
		{containerStatus, func() error { return s.status(ctx, pods[0].container) }},
	}
	for _, q := range questions {
		for range asks {
			took, err := timed(q.call)
			if err != nil {
				return fmt.Errorf("%s: %w", q.m, err)
			}
			b.results.time(s, q.m, took)
		}
	}
	return b.kubelet(ctx, s, pods)
}

// kubelet asks what a kubelet asks about standing pods: every second all lists, every other second those that
// run again, and 100 containers' status a second.
func (b *bench) kubelet(ctx context.Context, s *subject, pods []pod) error {
	const beat = 100 * time.Millisecond
	ticks := int(b.idle / beat)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	busy := s.cpu()
	for i := range ticks {
		if i%10 == 0 {
			if err := s.listPods(ctx, nil); err != nil {
				return err
			}
			if err := s.listContainers(ctx, nil); err != nil {
				return err
			}
		}
		if i%20 == 5 {
			ready := &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY}
			if err := s.listPods(ctx, &runtime.PodSandboxFilter{State: ready}); err != nil {
				return err
			}
			running := &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}
			if err := s.listContainers(ctx, &runtime.ContainerFilter{State: running}); err != nil {
				return err
			}
		}
		for j := range 10 {
			if err := s.status(ctx, pods[(10*i+j)%len(pods)].container); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.results.add(s, kubeletCPU, 100*(s.cpu()-busy).Seconds()/b.idle.Seconds())
	return nil
}

func (s *subject) listPods(ctx context.Context, f *runtime.PodSandboxFilter) error {
	_, err := s.cri.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: f})
	return err
}

func (s *subject) listContainers(ctx context.Context, f *runtime.ContainerFilter) error {
	_, err := s.cri.ListContainers(ctx, &runtime.ListContainersRequest{Filter: f})
	return err
}

func (s *subject) status(ctx context.Context, container string) error {
	_, err := s.cri.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: container})
	return err
}

// restart ends the daemon under its pods, and starts it again.
func (b *bench) restart(ctx context.Context, s *subject) error {
	if s.end == nil {
		return nil
	}
	return b.crew(ctx, s, b.pods, nil, func([]pod) error {
		if err := s.end(); err != nil {
			return err
		}
		took, err := timed(func() error {
			if err := s.start(ctx); err != nil {
				return err
			}
			if err := s.cri.Close(); err != nil {
				return err
			}
			if err := s.connect(); err != nil {
				return err
			}
			return s.serves(ctx)
		})
		b.results.time(s, restartTime, took)
		return err
	})
}

// serves waits until the runtime answers, which may be later than it listens.
func (s *subject) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := s.listContainers(ctx, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// What a container of the log part writes, in lines of 80 bytes: a file in memory, several times, by cat, which
// takes next to no time for it.
const (
	logFile  = 10 // MiB
	logTimes = 16
	logText  = `yes %079d | head -c %d >/dev/shm/lines; while [ ! -e /dev/shm/go ]; do sleep 0.05; done
i=0; while [ $i -lt %d ]; do cat /dev/shm/lines; i=$((i+1)); done`
)

// logs has a container write as fast as it can, until all of it is in the log.
func (b *bench) logs(ctx context.Context, s *subject) error {
	p := b.plan(s, false)
	p.container.Command = []string{"sh", "-c", fmt.Sprintf(logText, 0, logFile<<20, logTimes)}
	if err := os.MkdirAll(p.sandbox.LogDirectory, 0o755); err != nil {
		return err
	}
	made, err := s.up(ctx, p, laps{})
	defer func() { _ = s.down(context.WithoutCancel(ctx), made, laps{}) }()
	if err != nil {
		return err
	}
	begin := fmt.Sprintf("while [ $(wc -c </dev/shm/lines) -lt %d ]; do sleep 0.05; done; touch /dev/shm/go", logFile<<20)
	if _, err := s.cri.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: made.container, Cmd: []string{"sh", "-c", begin}, Timeout: 60}); err != nil {
		return err
	}
	// The processes of the runtime alone: what cat takes is the container's.
	start, busy := time.Now(), cpu(s.processes.find())
	if err := s.awaitExit(ctx, made.container); err != nil {
		return err
	}
	const mib = logFile * logTimes
	b.results.add(s, logRate, mib/time.Since(start).Seconds())
	b.results.add(s, logCPU, float64((cpu(s.processes.find())-busy).Microseconds())/1000/mib)
	return os.RemoveAll(p.sandbox.LogDirectory)
}

func (s *subject) awaitExit(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		r, err := s.cri.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: container})
		if err != nil {
			return err
		}
		if r.Status.State == runtime.ContainerState_CONTAINER_EXITED {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
