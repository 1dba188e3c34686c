package cri

import (
	"context"

	"github.com/containerd/errdefs"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// ListImages lists all images, or the one the filter names.
func (s *Server) ListImages(_ context.Context, r *runtime.ListImagesRequest) (*runtime.ListImagesResponse, error) {
	images, err := s.images(r.Filter)
	if err != nil {
		return nil, err
	}
	resp := &runtime.ListImagesResponse{}
	for i := range images {
		resp.Images = append(resp.Images, wireImage(&images[i]))
	}
	return resp, nil
}

func (s *Server) images(f *runtime.ImageFilter) ([]spec.Image, error) {
	if err := s.checkHandler(f.GetImage().GetRuntimeHandler(), "filter.image.runtime_handler"); err != nil {
		return nil, err
	}
	ref := f.GetImage().GetImage()
	if err := field("filter.image.image").text(ref); err != nil {
		return nil, err
	}
	if ref == "" {
		return s.deps.Images.List(), nil
	}
	image, err := s.deps.Images.Get(ref)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return []spec.Image{image}, err
}
