package cri

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/event"
	"tare/store"
)

// eventDepth is how many events a subscriber may leave unread: those of some hundred pods that
// start at once. Each holds its version of a pod's record, two kilobytes or so.
const eventDepth = 4096

var eventTypes = map[store.ChangeKind]runtime.ContainerEventType{
	store.Created: runtime.ContainerEventType_CONTAINER_CREATED_EVENT,
	store.Started: runtime.ContainerEventType_CONTAINER_STARTED_EVENT,
	store.Stopped: runtime.ContainerEventType_CONTAINER_STOPPED_EVENT,
	store.Deleted: runtime.ContainerEventType_CONTAINER_DELETED_EVENT,
}

// GetContainerEvents sends every step in the life of pod sandboxes and containers from now on, in the order
// of their commits, each with the statuses that commit left. Its header tells the client that "now" has
// passed. A client that reads too slowly holds up nobody: its stream ends with ResourceExhausted after the
// events that came before the gap.
func (s *Server) GetContainerEvents(_ *runtime.GetEventsRequest, to grpc.ServerStreamingServer[runtime.ContainerEventResponse]) error {
	sub := s.deps.Store.Subscribe(eventDepth)
	defer sub.Close()
	if err := to.SendHeader(nil); err != nil {
		return err
	}
	for {
		change, err := sub.Next(to.Context())
		if err == nil {
			err = to.Send(wireEvent(change))
		}
		if err != nil {
			return eventsEnd(err)
		}
	}
}

// eventsEnd says why no more events come.
func eventsEnd(err error) error {
	switch {
	case errors.Is(err, event.ErrLagged):
		return fmt.Errorf("%w: more than %d events were not read; list again, then subscribe again: %w", err, eventDepth, errdefs.ErrResourceExhausted)
	case errors.Is(err, event.ErrClosed):
		return fmt.Errorf("runtime is stopping: %w: %w", err, errdefs.ErrUnavailable)
	}
	return err
}

// wireEvent converts a change. One of a sandbox carries the sandbox's id, as clients of other
// runtimes know it.
func wireEvent(c store.Change) *runtime.ContainerEventResponse {
	id := string(c.Pod.ID)
	if c.Container != nil {
		id = string(c.Container.ID)
	}
	return &runtime.ContainerEventResponse{
		ContainerId: id, ContainerEventType: eventTypes[c.Kind], CreatedAt: c.At.UnixNano(),
		PodSandboxStatus: wirePodStatus(c.Pod), ContainersStatuses: wireContainerStatuses(c.Pod),
	}
}
