package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdatePodSandboxResources records what a pod as a whole may use. The kubelet has set the limits of the pod's
// cgroup before it calls (api.proto), so there is nothing else to do.
func (s *Server) UpdatePodSandboxResources(ctx context.Context, r *runtime.UpdatePodSandboxResourcesRequest) (*runtime.UpdatePodSandboxResourcesResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	overhead, err := resources(r.Overhead, "overhead")
	if err != nil {
		return nil, err
	}
	sum, err := resources(r.Resources, "resources")
	if err != nil {
		return nil, err
	}
	if err := s.deps.Resources.UpdatePod(ctx, p.ID, overhead, sum); err != nil {
		return nil, err
	}
	return &runtime.UpdatePodSandboxResourcesResponse{}, nil
}
