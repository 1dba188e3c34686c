package cri

import (
	"context"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// ListContainers lists the containers that pass the filter.
func (s *Server) ListContainers(_ context.Context, r *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	if err := containerState(r.Filter); err != nil {
		return nil, err
	}
	list, err := s.containerList.list(s.containers(r.Filter))
	if err != nil {
		return nil, err
	}
	resp := &runtime.ListContainersResponse{}
	respond(resp, list)
	return resp, nil
}

// containerState refuses a filter for a state that no container can be in.
func containerState(f *runtime.ContainerFilter) error {
	return field("filter.state.state").known(int32(f.GetState().GetState()), runtime.ContainerState_name)
}

// containers returns the containers that pass a filter.
func (s *Server) containers(f *runtime.ContainerFilter) []*store.Container {
	fails := func(c *store.Container) bool { return !containerPasses(c, f) }
	return slices.DeleteFunc(s.containerCandidates(f), fails)
}

// containerCandidates returns the containers among which those that pass are, by index where there
// is one.
func (s *Server) containerCandidates(f *runtime.ContainerFilter) []*store.Container {
	if f.GetId() != "" {
		if _, c, err := s.deps.Store.Container(spec.ContainerID(f.Id)); err == nil {
			return []*store.Container{c}
		}
	}
	var out []*store.Container
	for _, p := range s.podCandidates(f.GetPodSandboxId(), f.GetLabelSelector()) {
		for _, c := range p.Containers {
			out = append(out, c)
		}
	}
	return out
}

func containerPasses(c *store.Container, f *runtime.ContainerFilter) bool {
	return strings.HasPrefix(string(c.ID), f.GetId()) &&
		strings.HasPrefix(string(c.Pod), f.GetPodSandboxId()) &&
		(f.GetState() == nil || f.State.State == wireContainerState(c.State)) &&
		selected(c.Spec.Labels, f.GetLabelSelector())
}

func wireContainer(c *store.Container) *runtime.Container {
	return &runtime.Container{
		Id: string(c.ID), PodSandboxId: string(c.Pod), Metadata: wireContainerMetadata(c),
		Image: wireContainerImage(c), ImageRef: c.ImageRef, ImageId: string(c.Image),
		State: wireContainerState(c.State), CreatedAt: spec.Nanos(c.CreatedAt),
		Labels: c.Spec.Labels, Annotations: c.Spec.Annotations,
	}
}
