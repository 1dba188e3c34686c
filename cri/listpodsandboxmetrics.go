package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/stats"
	"tare/store"
)

// ListPodSandboxMetrics measures all ready pods and their running containers, all of them each time.
func (s *Server) ListPodSandboxMetrics(context.Context, *runtime.ListPodSandboxMetricsRequest) (*runtime.ListPodSandboxMetricsResponse, error) {
	resp := &runtime.ListPodSandboxMetricsResponse{}
	measure := s.podMetrics()
	for _, p := range s.measuredPods(nil) {
		resp.PodMetrics = append(resp.PodMetrics, measure(p))
	}
	return resp, nil
}

// podMetrics returns what measures a pod; what all pods share is measured once, now.
func (s *Server) podMetrics() func(p *store.Pod) *runtime.PodSandboxMetrics {
	var shared *stats.Filesystem
	if fs, err := s.deps.Stats.Filesystem(); err == nil {
		shared = &fs
	}
	return func(p *store.Pod) *runtime.PodSandboxMetrics {
		pod := s.deps.Stats.Pod(p, stats.Full)
		return wirePodMetrics(&pod, shared)
	}
}

// wirePodMetrics converts readings. What a pod's cgroup uses is shown where it has one of its own; the sums over
// containers are for the client to make.
func wirePodMetrics(p *stats.Pod, fs *stats.Filesystem) *runtime.PodSandboxMetrics {
	out := &runtime.PodSandboxMetrics{PodSandboxId: string(p.Record.ID)}
	m := podMeasurement(p)
	out.Metrics = m.apply(networkMetrics)
	if p.OwnCgroup {
		out.Metrics = append(out.Metrics, m.apply(usageMetrics)...)
	}
	for i := range p.Containers {
		m := containerMeasurement(p, &p.Containers[i], fs)
		out.ContainerMetrics = append(out.ContainerMetrics, &runtime.ContainerMetrics{
			ContainerId: string(p.Containers[i].Record.ID),
			Metrics:     append(m.apply(usageMetrics), m.apply(containerMetrics)...),
		})
	}
	return out
}
