package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StreamContainerStats is ListContainerStats in batches, each read just before it is sent.
func (s *Server) StreamContainerStats(r *runtime.StreamContainerStatsRequest, to grpc.ServerStreamingServer[runtime.StreamContainerStatsResponse]) error {
	return sendBatches(s.measuredContainers(r.Filter), s.containerStats, func(batch []*runtime.ContainerStats) error {
		return to.Send(&runtime.StreamContainerStatsResponse{ContainerStats: batch})
	})
}
