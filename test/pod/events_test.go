package pod

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// subscribe returns a stream of events from now on.
func subscribe(t *testing.T, d *daemon) grpc.ServerStreamingClient[runtime.ContainerEventResponse] {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	t.Cleanup(cancel)
	events, err := d.runtime.GetContainerEvents(ctx, &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Header(); err != nil {
		t.Fatal(err)
	}
	return events
}

// TestEvents follows a pod and its container through their lives.
func TestEvents(t *testing.T) {
	leavesNothing(t, suite.shared)
	events := subscribe(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(script("exit 3"))
	c.finish()
	if err := c.tryRemove(); err != nil {
		t.Fatal(err)
	}
	p.remove()
	const (
		created = runtime.ContainerEventType_CONTAINER_CREATED_EVENT
		started = runtime.ContainerEventType_CONTAINER_STARTED_EVENT
		stopped = runtime.ContainerEventType_CONTAINER_STOPPED_EVENT
		deleted = runtime.ContainerEventType_CONTAINER_DELETED_EVENT
	)
	step := func(id string, kind runtime.ContainerEventType) string { return fmt.Sprintf("%s %s", id, kind) }
	want := []string{
		step(p.id, created), step(p.id, started), step(c.id, created), step(c.id, started), step(c.id, stopped), step(c.id, deleted),
		step(p.id, stopped), step(p.id, deleted),
	}
	var got []string
	var last int64
	for len(got) < len(want) {
		e, err := events.Recv()
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		if e.PodSandboxStatus.GetId() != p.id {
			continue // of another test's pod
		}
		got = append(got, step(e.ContainerId, e.ContainerEventType))
		if e.CreatedAt < last || e.PodSandboxStatus.CreatedAt <= 0 {
			t.Errorf("%s: at %d after %d", got[len(got)-1], e.CreatedAt, last)
		}
		last = e.CreatedAt
		if e.ContainerId == c.id && e.ContainerEventType == stopped {
			s := e.ContainersStatuses
			if len(s) != 1 || s[0].Id != c.id || s[0].State != runtime.ContainerState_CONTAINER_EXITED || s[0].ExitCode != 3 {
				t.Errorf("statuses of the stopped event: %v", s)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%q\nwant\n%q", got, want)
	}
}

// TestSubscribedRestart: who waits for events, as a kubelet does all the time, holds up the daemon's end by nothing, and is told of it.
func TestSubscribedRestart(t *testing.T) {
	leavesNothing(t)
	d := ownDaemon(t, options{})
	events := subscribe(t, d)
	begin := time.Now()
	d.signal(syscall.SIGTERM)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the daemon took %s to end", took)
	}
	if _, err := events.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "is stopping") {
		t.Errorf("the stream ends with %v", err)
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
}
