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
	if err := s.checkHandler(r.Config.Image.RuntimeHandler, "image.runtime_handler"); err != nil {
		return nil, err
	}
	id, err := s.deps.Containers.CreateContainer(ctx, p.ID, c)
	if err != nil {
		return nil, err
	}
	return &runtime.CreateContainerResponse{ContainerId: string(id)}, nil
}
