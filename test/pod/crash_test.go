package pod

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestCrashes kills daemon, keeper or both at any moment while pods come and go. Afterwards all that
// is listed can be removed, and nothing else is there.
func TestCrashes(t *testing.T) {
	const rounds, workers = 9, 4
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for round := range rounds {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					_ = d.life(ctx) // errors are the point
				}
			})
		}
		// Any moment: there is no event to wait for.
		time.Sleep(time.Duration(random.IntN(int(100 * time.Millisecond))))
		victims := []string{"daemon", "keeper", "both"}
		victim := victims[round%len(victims)]
		if keeper := d.keeperPID(); victim != "daemon" && keeper != 0 {
			_ = syscall.Kill(keeper, syscall.SIGKILL)
		}
		if victim != "keeper" {
			d.signal(syscall.SIGKILL)
			cancel()
			if err := d.start(); err != nil {
				t.Fatalf("start after %s was killed: %v", victim, err)
			}
		}
		cancel()
		wg.Wait()
		d.removeAll(t)
	}
	d.runPod(t).start(sleeper)
}

// life is that of one pod from beginning to end.
func (d *daemon) life(ctx context.Context) error {
	pod, container, err := d.idle(ctx)
	if err != nil {
		return err
	}
	if _, err := d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: container, Cmd: []string{"true"}}); err != nil {
		return err
	}
	_, err = d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: pod})
	return err
}

// idle makes a pod with a container that runs on, and returns their ids.
func (d *daemon) idle(ctx context.Context) (pod, container string, err error) {
	config := podConfig("idle")
	run, err := d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "", "", err
	}
	c, err := d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: run.PodSandboxId, SandboxConfig: config, Config: &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: "c"}, Image: &runtime.ImageSpec{Image: busybox}, Command: []string{"sleep", "1000000"},
	}})
	if err != nil {
		return "", "", err
	}
	_, err = d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: c.ContainerId})
	return run.PodSandboxId, c.ContainerId, err
}

// removeAll removes every pod. A keeper that is lost interrupts the calls of a moment.
func (d *daemon) removeAll(t *testing.T) {
	t.Helper()
	await(t, "all pods are removed", func() error {
		list, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if _, err := d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
				return fmt.Errorf("remove %s: %w", p.Id, err)
			}
		}
		return nil
	})
}
