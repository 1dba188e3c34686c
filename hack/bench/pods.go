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
func (b *bench) plan(userns bool) plan {
	b.serial++
	name := fmt.Sprintf("bench-%d", b.serial)
	ns := &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER}
	if userns {
		ids := []*runtime.IDMapping{{HostId: uint32(idRange * (1 + b.serial%1000)), Length: idRange}}
		ns.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	return plan{
		sandbox: &runtime.PodSandboxConfig{
			Metadata: &runtime.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
			Hostname: name,
			Linux: &runtime.LinuxPodSandboxConfig{
				SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: ns},
			},
		},
		container: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "sleep"},
			Image:    &runtime.ImageSpec{Image: b.image},
			Command:  []string{"sleep", "1000000"},
			Linux: &runtime.LinuxContainerConfig{
				SecurityContext: &runtime.LinuxContainerSecurityContext{NamespaceOptions: ns},
			},
		},
	}
}

// up is RunPodSandbox, CreateContainer and StartContainer. What was made is returned also with
// an error.
func (b *bench) up(ctx context.Context, p plan) (made pod, err error) {
	r, err := b.cri.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: p.sandbox})
	if err != nil {
		return made, fmt.Errorf("run pod: %w", err)
	}
	made.id = r.PodSandboxId
	if made.container, err = b.cri.Run(ctx, made.id, p.sandbox, p.container); err != nil {
		return made, fmt.Errorf("run container: %w", err)
	}
	return made, nil
}

// down is StopContainer, RemoveContainer, StopPodSandbox and RemovePodSandbox, without grace.
func (b *bench) down(ctx context.Context, p pod) error {
	if p.container != "" {
		if _, err := b.cri.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: p.container}); err != nil {
			return fmt.Errorf("stop container: %w", err)
		}
		if _, err := b.cri.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: p.container}); err != nil {
			return fmt.Errorf("remove container: %w", err)
		}
	}
	if p.id == "" {
		return nil
	}
	if _, err := b.cri.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("stop pod: %w", err)
	}
	if _, err := b.cri.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("remove pod: %w", err)
	}
	return nil
}

// exec runs true in a container.
func (b *bench) exec(ctx context.Context, container string) error {
	r, err := b.cri.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: container, Cmd: []string{"true"}, Timeout: 10})
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

// sideBySide calls f for 0 to n-1, width at once, and returns how long each took and the first
// error.
func sideBySide(n, width int, f func(i int) error) ([]time.Duration, error) {
	times, errs := make([]time.Duration, n), make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() { // ends when next is closed
			for i := range next {
				times[i], errs[i] = timed(func() error { return f(i) })
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
			return times, err
		}
	}
	return times, nil
}
