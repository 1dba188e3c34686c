package cri

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
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
	if err := checkUserNS(ctx, p, h); err != nil {
		return nil, err
	}
	id, err := s.deps.Sandboxes.RunPod(ctx, p)
	if err != nil {
		return nil, err
	}
	return &runtime.RunPodSandboxResponse{PodSandboxId: string(id)}, nil
}

// checkUserNS refuses a pod with a user namespace to a handler that has none, or does not say so.
func checkUserNS(ctx context.Context, p *spec.Pod, h Handler) error {
	if p.Namespaces.User == nil {
		return nil
	}
	const at = "linux.security_context.namespace_options.userns_options"
	switch yes, err := h.UserNamespaces.Wait(ctx); {
	case err != nil:
		return fmt.Errorf("%s: mode POD: ask runtime handler %q for its features: %w", at, h.Name, err)
	case !yes:
		return fmt.Errorf("%s: mode POD, but user namespaces are not among the features of runtime handler %q on this host: %w", at, h.Name, errdefs.ErrFailedPrecondition)
	}
	return nil
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
