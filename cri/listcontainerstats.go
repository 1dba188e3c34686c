package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/stats"
	"tare/store"
)

// ListContainerStats tells what the running containers that pass the filter use.
func (s *Server) ListContainerStats(_ context.Context, r *runtime.ListContainerStatsRequest) (*runtime.ListContainerStatsResponse, error) {
	resp := &runtime.ListContainerStatsResponse{}
	for _, c := range s.measuredContainers(r.Filter) {
		resp.Stats = append(resp.Stats, s.containerStats(c))
	}
	return resp, nil
}

func (s *Server) containerStats(c *store.Container) *runtime.ContainerStats {
	return wireContainerStats(s.deps.Stats.Container(c, stats.Basic))
}

// measuredContainers returns the running containers that pass a filter.
func (s *Server) measuredContainers(f *runtime.ContainerStatsFilter) []*store.Container {
	filter := &runtime.ContainerFilter{
		Id: f.GetId(), PodSandboxId: f.GetPodSandboxId(), LabelSelector: f.GetLabelSelector(),
		State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING},
	}
	return s.containers(filter)
}
