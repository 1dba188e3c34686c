package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PullImage fetches an image.
func (s *Server) PullImage(ctx context.Context, r *runtime.PullImageRequest) (*runtime.PullImageResponse, error) {
	ref, err := s.image(r.Image, "image")
	if err != nil {
		return nil, err
	}
	image, err := s.deps.Images.Pull(ctx, ref, auth(r.Auth))
	if err != nil {
		return nil, pullError(ctx, err)
	}
	return &runtime.PullImageResponse{ImageRef: string(image.ID)}, nil
}
