package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// idRange is how many ids a pod with a user namespace has.
const idRange = 65536

// pod is one that runs, with its one container.
type pod struct{ id, container string }

// plan is what a pod is made from.
type plan struct {
	sandbox   *runtime.PodSandboxConfig
	container *runtime.ContainerConfig
}

// plan makes the next pod's configuration: as the kubelet's, with a container that sleeps.
func (b *bench) plan(s *subject, userns bool) plan {
	b.serial++
	name := fmt.Sprintf("bench-%d", b.serial)
	ns := &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER}
	if userns {
		ids := []*runtime.IDMapping{{HostId: uint32(idRange * (1 + b.serial%1000)), Length: idRange}}
		ns.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	return plan{
		sandbox: &runtime.PodSandboxConfig{
			Metadata:     &runtime.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
			Hostname:     name,
			LogDirectory: b.dir + "/logs/" + name,
			Labels:       map[string]string{"io.kubernetes.pod.uid": name},
			Linux: &runtime.LinuxPodSandboxConfig{
				CgroupParent:    s.cgroup,
				SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: ns},
			},
		},
		container: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "sleep"},
			Image:    &runtime.ImageSpec{Image: b.image},
			Command:  []string{"sleep", "1000000"},
			LogPath:  "0.log",
			Labels:   map[string]string{"io.kubernetes.pod.uid": name},
			Linux: &runtime.LinuxContainerConfig{
				SecurityContext: &runtime.LinuxContainerSecurityContext{NamespaceOptions: ns},
			},
		},
	}
}

// laps are how long each call of a pod's life took, by its name.
type laps map[string]time.Duration

func (l laps) time(what string, f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	l[what] += time.Since(start)
	return nil
}

func (l laps) sum(names ...string) (sum time.Duration) {
	for _, n := range names {
		sum += l[n]
	}
	return sum
}

// The calls of a pod's life.
const (
	runPod          = "RunPodSandbox"
	createContainer = "CreateContainer"
	startContainer  = "StartContainer"
	stopContainer   = "StopContainer"
	removeContainer = "RemoveContainer"
	stopPod         = "StopPodSandbox"
	removePod       = "RemovePodSandbox"
)

// up runs a pod with its container. What was made is returned also with an error.
func (s *subject) up(ctx context.Context, p plan, l laps) (made pod, err error) {
	err = l.time(runPod, func() error {
		r, err := s.cri.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: p.sandbox})
		made.id = r.GetPodSandboxId()
		return err
	})
	if err != nil {
		return made, err
	}
	err = l.time(createContainer, func() error {
		r, err := s.cri.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: made.id, Config: p.container, SandboxConfig: p.sandbox})
		made.container = r.GetContainerId()
		return err
	})
	if err != nil {
		return made, err
	}
	return made, l.time(startContainer, func() error {
		_, err := s.cri.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: made.container})
		return err
	})
}

// down removes a pod, without grace.
func (s *subject) down(ctx context.Context, p pod, l laps) error {
	calls := []struct {
		what string
		of   string
		call func() error
	}{
		{stopContainer, p.container, func() error {
			_, err := s.cri.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: p.container})
			return err
		}},
		{removeContainer, p.container, func() error {
			_, err := s.cri.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: p.container})
			return err
		}},
		{stopPod, p.id, func() error {
			_, err := s.cri.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
			return err
		}},
		{removePod, p.id, func() error {
			_, err := s.cri.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.id})
			return err
		}},
	}
	for _, c := range calls {
		if c.of == "" {
			continue
		}
		if err := l.time(c.what, c.call); err != nil {
			return err
		}
	}
	return nil
}

// exec runs true in a container.
func (s *subject) exec(ctx context.Context, container string) error {
	r, err := s.cri.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: container, Cmd: []string{"true"}, Timeout: 10})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if r.ExitCode != 0 {
		return fmt.Errorf("exec: exit code %d: %s", r.ExitCode, r.Stderr)
	}
	return nil
}

// timed runs f and returns how long it took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// sideBySide calls f for 0 to n-1, width at once, and returns the first error.
func sideBySide(n, width int, f func(i int) error) error {
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() { // ends when next is closed
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
