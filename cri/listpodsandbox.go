package cri

import (
	"context"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// ListPodSandbox lists the pod sandboxes that pass the filter.
func (s *Server) ListPodSandbox(_ context.Context, r *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	if err := podState(r.Filter); err != nil {
		return nil, err
	}
	list, err := s.podList.list(s.pods(r.Filter))
	if err != nil {
		return nil, err
	}
	resp := &runtime.ListPodSandboxResponse{}
	respond(resp, list)
	return resp, nil
}

// podState refuses a filter for a state that no pod can be in.
func podState(f *runtime.PodSandboxFilter) error {
	return field("filter.state.state").known(int32(f.GetState().GetState()), runtime.PodSandboxState_name)
}

// pods returns the pods that pass a filter.
func (s *Server) pods(f *runtime.PodSandboxFilter) []*store.Pod {
	fails := func(p *store.Pod) bool { return !podPasses(p, f) }
	return slices.DeleteFunc(s.podCandidates(f.GetId(), f.GetLabelSelector()), fails)
}

// podCandidates returns the pods among which those with this id (or "") and these labels are,
// by index where there is one.
func (s *Server) podCandidates(id string, labels map[string]string) []*store.Pod {
	if id != "" {
		if p, err := s.deps.Store.Pod(spec.PodID(id)); err == nil {
			return []*store.Pod{p}
		}
	}
	if uid, ok := labels[store.UIDLabel]; ok {
		return s.deps.Store.PodsByUID(uid)
	}
	return s.deps.Store.Pods()
}

// podPasses applies a filter. A sandbox that is still being made passes none: nobody has its id,
// and the kubelet would take it for one that died.
func podPasses(p *store.Pod, f *runtime.PodSandboxFilter) bool {
	return p.State != store.PodCreating &&
		strings.HasPrefix(string(p.ID), f.GetId()) &&
		(f.GetState() == nil || f.State.State == wirePodState(p.State)) &&
		selected(p.Spec.Labels, f.GetLabelSelector())
}

// selected reports whether labels has every pair of selector.
func selected(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func wirePod(p *store.Pod) *runtime.PodSandbox {
	return &runtime.PodSandbox{
		Id: string(p.ID), Metadata: wirePodMetadata(&p.Spec), State: wirePodState(p.State),
		CreatedAt: p.CreatedAt.UnixNano(), Labels: p.Spec.Labels, Annotations: p.Spec.Annotations,
		RuntimeHandler: p.Spec.Handler,
	}
}
