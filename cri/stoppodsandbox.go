package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StopPodSandbox stops a pod sandbox and its containers. One that is not there is stopped.
func (s *Server) StopPodSandbox(ctx context.Context, r *runtime.StopPodSandboxRequest) (*runtime.StopPodSandboxResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err == nil {
		err = s.deps.Sandboxes.StopPod(ctx, p.ID)
	}
	if err = goneIsDone(err); err != nil {
		return nil, err
	}
	return &runtime.StopPodSandboxResponse{}, nil
}
