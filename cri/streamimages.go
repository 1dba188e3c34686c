package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// StreamImages is ListImages in batches.
func (s *Server) StreamImages(r *runtime.StreamImagesRequest, to grpc.ServerStreamingServer[runtime.StreamImagesResponse]) error {
	images, err := s.images(r.Filter)
	if err != nil {
		return err
	}
	wire := func(i spec.Image) *runtime.Image { return wireImage(&i) }
	return sendBatches(images, wire, func(batch []*runtime.Image) error {
		return to.Send(&runtime.StreamImagesResponse{Images: batch})
	})
}
