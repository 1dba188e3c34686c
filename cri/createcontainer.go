package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container, or finds the one an earlier call with its key made. The
// sandbox's configuration comes with the request for easy reference: the record has it. But a kubelet's is that of the pod as it
// is now, and says privileged where only a container for debugging is, which was added since (HasPrivilegedContainer in
// pkg/kubelet/container/helpers.go). No sandbox is made otherwise for being privileged.
func (s *Server) CreateContainer(ctx context.Context, r *runtime.CreateContainerRequest) (*runtime.CreateContainerResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	now := *p
	now.Spec.Privileged = p.Spec.Privileged || r.SandboxConfig.GetLinux().GetSecurityContext().GetPrivileged()
	c, err := containerSpec(r.Config, &now)
	if err != nil {
		return nil, err
	}
	if err := s.checkImages(r.Config); err != nil {
		return nil, err
	}
	id, err := s.deps.Containers.CreateContainer(ctx, p.ID, c)
	if err != nil {
		return nil, err
	}
	return &runtime.CreateContainerResponse{ContainerId: string(id)}, nil
}

// checkImages refuses images for runtime handlers that do not exist, the container's and its volumes'.
func (s *Server) checkImages(cfg *runtime.ContainerConfig) error {
	if _, err := s.image(cfg.GetImage(), "image"); err != nil {
		return err
	}
	for i, m := range cfg.GetMounts() {
		if err := s.checkHandler(m.GetImage().GetRuntimeHandler(), field("mounts").at(i).sub("image.runtime_handler")); err != nil {
			return err
		}
	}
	return nil
}
