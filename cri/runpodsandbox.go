package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// RunPodSandbox makes a pod sandbox, or finds the one an earlier call with its key made.
func (s *Server) RunPodSandbox(ctx context.Context, r *runtime.RunPodSandboxRequest) (*runtime.RunPodSandboxResponse, error) {
	h, err := s.handler(r.RuntimeHandler, "runtime_handler")
	if err != nil {
		return nil, err
	}
	p, err := podSpec(r.Config, r.RuntimeHandler)
	if err != nil {
		return nil, err
	}
	if err := isolate(p, h); err != nil {
		return nil, err
	}
	id, err := s.deps.Sandboxes.RunPod(ctx, p)
	if err != nil {
		return nil, err
	}
	return &runtime.RunPodSandboxResponse{PodSandboxId: string(id)}, nil
}

// isolate has each container of the pod be isolated, if the handler is for that.
func isolate(p *spec.Pod, h Handler) error {
	p.Isolated = h.Isolated
	if p.Isolated && p.Namespaces.User == nil {
		return field("linux.security_context.namespace_options.userns_options").errorf(
			"mode NODE, but runtime handler %q makes user namespaces inside the pod's: mode POD with mappings is needed", h.Name)
	}
	return nil
}
