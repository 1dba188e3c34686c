package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ReopenContainerLog makes a container write to its log's path anew, after rotation.
func (s *Server) ReopenContainerLog(ctx context.Context, r *runtime.ReopenContainerLogRequest) (*runtime.ReopenContainerLogResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if err := s.deps.Processes.ReopenLog(ctx, c.ID); err != nil {
		return nil, err
	}
	return &runtime.ReopenContainerLogResponse{}, nil
}
