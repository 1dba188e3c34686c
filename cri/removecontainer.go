package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RemoveContainer removes a container, by force if it runs. One that is not there is removed.
func (s *Server) RemoveContainer(ctx context.Context, r *runtime.RemoveContainerRequest) (*runtime.RemoveContainerResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err == nil {
		err = s.deps.Containers.RemoveContainer(ctx, c.ID)
	}
	if err = goneIsDone(err); err != nil {
		return nil, err
	}
	return &runtime.RemoveContainerResponse{}, nil
}
