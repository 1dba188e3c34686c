package cri

import (
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StreamPodSandboxMetrics is ListPodSandboxMetrics in batches, each measured just before it is sent.
func (s *Server) StreamPodSandboxMetrics(_ *runtime.StreamPodSandboxMetricsRequest, to grpc.ServerStreamingServer[runtime.StreamPodSandboxMetricsResponse]) error {
	return sendBatches(s.measuredPods(nil), s.podMetrics(), func(batch []*runtime.PodSandboxMetrics) error {
		return to.Send(&runtime.StreamPodSandboxMetricsResponse{PodSandboxMetrics: batch})
	})
}
