package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StreamPodSandboxStats is ListPodSandboxStats in batches, each read just before it is sent.
func (s *Server) StreamPodSandboxStats(r *runtime.StreamPodSandboxStatsRequest, to grpc.ServerStreamingServer[runtime.StreamPodSandboxStatsResponse]) error {
	return sendBatches(s.measuredPods(r.Filter), s.podStats, func(batch []*runtime.PodSandboxStats) error {
		return to.Send(&runtime.StreamPodSandboxStatsResponse{PodSandboxStats: batch})
	})
}
