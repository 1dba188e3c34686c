package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StreamContainers is ListContainers in batches.
func (s *Server) StreamContainers(r *runtime.StreamContainersRequest, to grpc.ServerStreamingServer[runtime.StreamContainersResponse]) error {
	if err := containerState(r.Filter); err != nil {
		return err
	}
	return sendBatches(s.containers(r.Filter), wireContainer, func(batch []*runtime.Container) error {
		return to.Send(&runtime.StreamContainersResponse{Containers: batch})
	})
}
