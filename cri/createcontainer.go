package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container, or finds the one an earlier call with its key made. The
// sandbox's configuration comes with the request for easy reference only: the record has it.
func (s *Server) CreateContainer(ctx context.Context, r *runtime.CreateContainerRequest) (*runtime.CreateContainerResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	c, err := containerSpec(r.Config, p)
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
