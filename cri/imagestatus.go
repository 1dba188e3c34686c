package cri

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// ImageStatus tells of an image. One that is not there is no error but an empty answer.
func (s *Server) ImageStatus(_ context.Context, r *runtime.ImageStatusRequest) (*runtime.ImageStatusResponse, error) {
	ref, err := s.image(r.Image, "image")
	if err != nil {
		return nil, err
	}
	image, err := s.deps.Images.Get(ref)
	if errdefs.IsNotFound(err) {
		return &runtime.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &runtime.ImageStatusResponse{Image: wireImage(&image)}
	if r.Verbose {
		resp.Info, err = info("info", imageInfo(&image))
	}
	return resp, err
}

// imageInfo is what a verbose status shows beyond CRI; the keys are those crictl's users know.
func imageInfo(i *spec.Image) any {
	type imageSpec struct {
		Created time.Time           `json:"created"`
		Config  ocispec.ImageConfig `json:"config"`
	}
	return struct {
		ImageSpec imageSpec `json:"imageSpec"`
	}{imageSpec{i.Created, i.Config}}
}
