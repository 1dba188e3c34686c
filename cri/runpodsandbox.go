package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunPodSandbox makes a pod sandbox, or finds the one an earlier call with its key made.
func (s *Server) RunPodSandbox(ctx context.Context, r *runtime.RunPodSandboxRequest) (*runtime.RunPodSandboxResponse, error) {
	if err := s.checkHandler(r.RuntimeHandler, "runtime_handler"); err != nil {
		return nil, err
	}
	p, err := podSpec(r.Config, r.RuntimeHandler)
	if err != nil {
		return nil, err
	}
	id, err := s.deps.Sandboxes.RunPod(ctx, p)
	if err != nil {
		return nil, err
	}
	return &runtime.RunPodSandboxResponse{PodSandboxId: string(id)}, nil
}
