package cri

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

func TestSendBatches(t *testing.T) {
	var items []string
	for i := range 1000 {
		items = append(items, fmt.Sprint(i))
	}
	long := strings.Repeat("x", 10<<10)
	convert := func(id string) *runtime.Container { return &runtime.Container{Id: id, ImageRef: long} }
	var got []string
	batches := 0
	err := sendBatches(items, convert, func(batch []*runtime.Container) error {
		batches++
		for _, c := range batch {
			got = append(got, c.Id)
		}
		return nil
	})
	if err != nil || !slices.Equal(got, items) || batches < 10 || batches > 100 {
		t.Errorf("%d items in %d batches, %v", len(got), batches, err)
	}
	gone := errors.New("gone")
	if err := sendBatches(items, convert, func([]*runtime.Container) error { return gone }); err != gone {
		t.Errorf("%v, want the client's end", err)
	}
	if err := sendBatches(nil, convert, func([]*runtime.Container) error { return gone }); err != nil {
		t.Errorf("an empty list: %v", err)
	}
}

func TestStreamLargeList(t *testing.T) {
	s := serve(t)
	labels := map[string]string{"long": strings.Repeat("x", 100<<10)}
	const n = 200 // 20 MB, more than one message may hold
	for i := range n {
		s.pod(t, spec.PodID(fmt.Sprintf("%064d", i)), store.PodReady, labels)
	}
	stream, err := s.StreamPodSandboxes(t.Context(), &runtime.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.PodSandboxes {
			seen[p.Id] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d pods, want %d", len(seen), n)
	}
}

// TestSlowSubscriber leaves events unread: nothing waits for it, and its stream ends where events are missing.
func TestSlowSubscriber(t *testing.T) {
	s := serve(t)
	events, err := s.GetContainerEvents(t.Context(), &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Header(); err != nil {
		t.Fatal(err)
	}
	const each = 16 // containers, that change in one commit
	var ctrs []*store.Container
	for i := range each {
		ctrs = append(ctrs, &store.Container{ID: spec.ContainerID(fmt.Sprintf("c%d", i)), State: store.ContainerCreated})
	}
	s.pod(t, "aa", store.PodReady, nil, ctrs...)
	states := []store.ContainerState{store.ContainerRunning, store.ContainerExited}
	finished := []time.Time{{}, time.Now()}
	const commits = eventDepth/each + 100
	for i := range commits {
		_, err := s.store.Update("aa", func(p *store.Pod) error {
			for _, c := range p.Containers {
				c.State, c.ExitCode, c.FinishedAt = states[i%2], int32(i), finished[i%2]
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := 0
	next := map[string]int32{}
	for {
		e, err := events.Recv()
		if err != nil {
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "fell behind") {
				t.Errorf("end of the stream: %v", err)
			}
			break
		}
		read++
		if e.ContainerEventType == runtime.ContainerEventType_CONTAINER_CREATED_EVENT {
			continue
		}
		i := slices.IndexFunc(e.ContainersStatuses, func(s *runtime.ContainerStatus) bool { return s.Id == e.ContainerId })
		if got := e.ContainersStatuses[i].ExitCode; got != next[e.ContainerId] {
			t.Fatalf("event %d of %s came where %d was to come", got, e.ContainerId, next[e.ContainerId])
		}
		next[e.ContainerId]++
	}
	if read < eventDepth || read >= commits*each {
		t.Errorf("%d events were read of %d", read, commits*each)
	}
}

func TestEventsEndWithRuntime(t *testing.T) {
	s := serve(t)
	events, err := s.GetContainerEvents(t.Context(), &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Header(); err != nil {
		t.Fatal(err)
	}
	s.store.Close()
	if _, err := events.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
}
