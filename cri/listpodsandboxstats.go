package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/store"
)

// ListPodSandboxStats tells what the ready pod sandboxes that pass the filter use.
func (s *Server) ListPodSandboxStats(_ context.Context, r *runtime.ListPodSandboxStatsRequest) (*runtime.ListPodSandboxStatsResponse, error) {
	resp := &runtime.ListPodSandboxStatsResponse{}
	for _, p := range s.measuredPods(r.Filter) {
		resp.Stats = append(resp.Stats, s.podStats(p))
	}
	return resp, nil
}

// measuredPods returns the ready pods that pass a filter: others use nothing any more.
func (s *Server) measuredPods(f *runtime.PodSandboxStatsFilter) []*store.Pod {
	return s.pods(&runtime.PodSandboxFilter{
		Id: f.GetId(), LabelSelector: f.GetLabelSelector(),
		State: &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY},
	})
}
