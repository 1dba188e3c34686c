package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StartContainer runs a container's process.
func (s *Server) StartContainer(ctx context.Context, r *runtime.StartContainerRequest) (*runtime.StartContainerResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if err := s.deps.Containers.StartContainer(ctx, c.ID); err != nil {
		return nil, err
	}
	return &runtime.StartContainerResponse{}, nil
}
