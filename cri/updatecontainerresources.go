package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateContainerResources changes a container's limits, all or none. What is not specified stays.
// The annotations are for experiments between a client and a runtime that have agreed on them; there are none here.
func (s *Server) UpdateContainerResources(ctx context.Context, r *runtime.UpdateContainerResourcesRequest) (*runtime.UpdateContainerResourcesResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if r.Windows != nil {
		return nil, field("windows").errorf("this is not a Windows host")
	}
	if r.Linux == nil {
		return nil, field("linux").errorf("must not be empty")
	}
	limits, err := resources(r.Linux, "linux")
	if err != nil {
		return nil, err
	}
	if err := s.deps.Resources.UpdateContainer(ctx, c.ID, limits); err != nil {
		return nil, err
	}
	return &runtime.UpdateContainerResourcesResponse{}, nil
}
