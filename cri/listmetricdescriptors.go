package cri

import (
	"context"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListMetricDescriptors names the metrics of ListPodSandboxMetrics, always the same.
func (s *Server) ListMetricDescriptors(context.Context, *runtime.ListMetricDescriptorsRequest) (*runtime.ListMetricDescriptorsResponse, error) {
	resp := &runtime.ListMetricDescriptorsResponse{}
	for _, m := range slices.Concat(usageMetrics, networkMetrics, containerMetrics) {
		resp.Descriptors = append(resp.Descriptors, &runtime.MetricDescriptor{
			Name: m.name, Help: m.help, LabelKeys: slices.Concat(baseLabels, m.labels),
		})
	}
	slices.SortFunc(resp.Descriptors, func(a, b *runtime.MetricDescriptor) int { return strings.Compare(a.Name, b.Name) })
	return resp, nil
}
