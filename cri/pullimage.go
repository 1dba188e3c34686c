package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// PullImage fetches an image.
func (s *Server) PullImage(ctx context.Context, r *runtime.PullImageRequest) (*runtime.PullImageResponse, error) {
	ref, err := s.image(r.Image, "image")
	if err != nil {
		return nil, err
	}
	credential, err := auth(r.Auth, "auth")
	if err != nil {
		return nil, err
	}
	image, err := s.deps.Images.Pull(ctx, spec.Pull{
		Image: ref, Handler: r.Image.RuntimeHandler, Annotations: r.Image.Annotations, Auth: credential,
	})
	if err != nil {
		return nil, pullError(ctx, err)
	}
	return &runtime.PullImageResponse{ImageRef: string(image.ID)}, nil
}
