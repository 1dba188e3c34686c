package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RemoveImage removes an image under all its names. One that is not there is removed.
func (s *Server) RemoveImage(ctx context.Context, r *runtime.RemoveImageRequest) (*runtime.RemoveImageResponse, error) {
	ref, err := s.image(r.Image, "image")
	if err != nil {
		return nil, err
	}
	if err := goneIsDone(s.deps.Images.Remove(ctx, ref)); err != nil {
		return nil, err
	}
	return &runtime.RemoveImageResponse{}, nil
}
