package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RemovePodSandbox removes a pod sandbox and its containers. One that is not there is removed.
func (s *Server) RemovePodSandbox(ctx context.Context, r *runtime.RemovePodSandboxRequest) (*runtime.RemovePodSandboxResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err == nil {
		err = s.deps.Sandboxes.RemovePod(ctx, p.ID)
	}
	if err = goneIsDone(err); err != nil {
		return nil, err
	}
	return &runtime.RemovePodSandboxResponse{}, nil
}
