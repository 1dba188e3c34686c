package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StreamPodSandboxes is ListPodSandbox in batches.
func (s *Server) StreamPodSandboxes(r *runtime.StreamPodSandboxesRequest, to grpc.ServerStreamingServer[runtime.StreamPodSandboxesResponse]) error {
	if err := podState(r.Filter); err != nil {
		return err
	}
	return sendBatches(s.pods(r.Filter), wirePod, func(batch []*runtime.PodSandbox) error {
		return to.Send(&runtime.StreamPodSandboxesResponse{PodSandboxes: batch})
	})
}
