package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageFsInfo tells what images and writable layers take of the filesystems they are on, which are the
// same if their mount points are.
func (s *Server) ImageFsInfo(ctx context.Context, _ *runtime.ImageFsInfoRequest) (*runtime.ImageFsInfoResponse, error) {
	images, err := s.deps.ImageUsage.Usage(ctx)
	if err != nil {
		return nil, err
	}
	return &runtime.ImageFsInfoResponse{
		ImageFilesystems:     []*runtime.FilesystemUsage{wireUsage(images)},
		ContainerFilesystems: []*runtime.FilesystemUsage{wireUsage(s.deps.Stats.Layers())},
	}, nil
}
