package pod

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func countWord(text, word string) int {
	n := 0
	for _, w := range strings.Fields(text) {
		if w == word {
			n++
		}
	}
	return n
}

// together calls f several times at once and returns the results.
func together[T any](n int, f func() (T, error)) ([]T, []error) {
	results, errs := make([]T, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i], errs[i] = f() })
	}
	wg.Wait()
	return results, errs
}

// same checks that calls gave one and the same id.
func same(t *testing.T, ids []string, errs []error) string {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
		if ids[i] != ids[0] {
			t.Errorf("ids %v", ids)
		}
	}
	return ids[0]
}

func TestSameCallsAtOnce(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	const calls = 8
	config := podConfig("twice")
	config.LogDirectory = t.TempDir()
	runPod := func() (string, error) {
		resp, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
		return resp.GetPodSandboxId(), err
	}
	ids, errs := together(calls, runPod)
	p := &pod{d, t, same(t, ids, errs), config}
	t.Cleanup(p.remove)
	if again, err := runPod(); err != nil || again != p.id {
		t.Errorf("a later call gives %s, %v, want %s", again, err, p.id)
	}
	if items := d.inventory(t); len(items) != 1 {
		t.Errorf("pods %v, want one", items)
	}

	container := p.containerConfig(sleeper)
	ids, errs = together(calls, func() (string, error) { return p.tryCreate(container) })
	c := &ctr{p, same(t, ids, errs), container}
	if again, err := p.tryCreate(container); err != nil || again != c.id {
		t.Errorf("a later call gives %s, %v, want %s", again, err, c.id)
	}
	other := p.containerConfig(sleeper)
	other.Metadata.Name, other.Metadata.Attempt = container.Metadata.Name, 1
	if id, err := p.tryCreate(other); err != nil || id == c.id {
		t.Errorf("the next attempt gives %s, %v", id, err)
	}

	_, errs = together(calls, func() (struct{}, error) { return struct{}{}, c.tryStart() })
	if !slices.Contains(errs, nil) {
		t.Errorf("no start worked: %v", errs)
	}
	refused(t, c.tryStart(), codes.FailedPrecondition, "running")

	c.trapped()
	const grace = 20 // seconds
	began := time.Now()
	_, errs = together(calls, func() (*runtime.StopContainerResponse, error) {
		return d.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: c.id, Timeout: grace})
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took >= grace*time.Second {
		t.Errorf("stopping a container that ends on SIGTERM took %s", took)
	}
	refused(t, c.tryStart(), codes.FailedPrecondition, "exited")
	_, errs = together(calls, func() (struct{}, error) { return struct{}{}, c.tryRemove() })
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	_, errs = together(calls, func() (*runtime.RemovePodSandboxResponse, error) {
		return d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: p.id})
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestOrders gives orders in states they were not made for.
func TestOrders(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)

	created := p.create(sleeper)
	created.stop(0)
	if s := created.status().State; s != runtime.ContainerState_CONTAINER_CREATED && s != runtime.ContainerState_CONTAINER_EXITED {
		t.Errorf("a created container that was stopped is %s", s)
	}
	_, err := created.tryExec(0, "true")
	refused(t, err, codes.FailedPrecondition, "created")
	refused(t, created.reopenLog(), codes.FailedPrecondition, "created")

	running := p.start(sleeper)
	pid := running.pid()
	if err := running.tryRemove(); err != nil {
		t.Errorf("remove while it runs: %v", err)
	}
	gone(t, pid)
	for range 2 {
		if err := running.tryRemove(); err != nil {
			t.Errorf("remove again: %v", err)
		}
		running.stop(0)
	}

	// A stop with a shorter grace does not wait for the longer one.
	stubborn := p.start(script("trap '' TERM; echo ready; while :; do sleep 1000; done"))
	stubborn.says("ready")
	done := make(chan error, 1)
	go func() { // ends with the container
		_, err := stubborn.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: stubborn.id, Timeout: 1000})
		done <- err
	}()
	stubborn.stop(0)
	if err := <-done; err != nil {
		t.Errorf("the call with the longer grace: %v", err)
	}
	if s := stubborn.finish(); s.ExitCode != 137 {
		t.Errorf("exit code %d, want 137", s.ExitCode)
	}

	if _, err := p.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	_, err = p.tryCreate(p.containerConfig())
	refused(t, err, codes.FailedPrecondition, "not ready")
	refused(t, created.tryStart(), codes.FailedPrecondition, "not ready")
	_, err = p.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: p.config})
	refused(t, err, codes.AlreadyExists, p.config.Metadata.Uid)
	next := podConfig("pod")
	next.Metadata = &runtime.PodSandboxMetadata{Name: "pod", Uid: p.config.Metadata.Uid, Namespace: "default", Attempt: 1}
	resp, err := p.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: next})
	if err != nil {
		t.Fatal(err)
	}
	(&pod{p.daemon, t, resp.PodSandboxId, next}).remove()
}
