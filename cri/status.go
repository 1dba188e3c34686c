package cri

import (
	"context"
	"maps"
	gc "runtime"
	"runtime/metrics"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Status tells whether pods can run, and what this runtime and kernel can do.
func (s *Server) Status(_ context.Context, r *runtime.StatusRequest) (*runtime.StatusResponse, error) {
	ok, reason, message := s.deps.Network.Status()
	resp := &runtime.StatusResponse{
		Status: &runtime.RuntimeStatus{Conditions: []*runtime.RuntimeCondition{
			{Type: "RuntimeReady", Status: true},
			{Type: "NetworkReady", Status: ok, Reason: reason, Message: message},
		}},
		RuntimeHandlers: s.wireHandlers(),
		Features: &runtime.RuntimeFeatures{
			SupplementalGroupsPolicy:  s.deps.Features.SupplementalGroupsPolicy,
			UserNamespacesHostNetwork: s.deps.Features.UserNamespacesHostNetwork,
			MountOptions:              s.deps.Features.MountOptions,
		},
	}
	if !r.Verbose {
		return resp, nil
	}
	var err error
	if resp.Info, err = info("config", s.deps.Config); err != nil {
		return nil, err
	}
	process, err := info("process", newProcessInfo())
	maps.Copy(resp.Info, process)
	return resp, err
}

// processInfo is what an operator asks a daemon that seems to grow.
type processInfo struct {
	Goroutines uint64 `json:"goroutines"`
	LiveHeap   uint64 `json:"live_heap_bytes"`
	Threads    uint64 `json:"threads"` // of the Go scheduler
}

// newProcessInfo collects garbage first: otherwise the heap would be that of a moment minutes ago.
func newProcessInfo() processInfo {
	gc.GC()
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}, {Name: "/sched/threads/total:threads"}}
	metrics.Read(samples)
	return processInfo{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// wireHandlers lists the handlers, the default one also under the empty name.
func (s *Server) wireHandlers() []*runtime.RuntimeHandler {
	wire := func(name string, h Handler) *runtime.RuntimeHandler {
		return &runtime.RuntimeHandler{Name: name, Features: &runtime.RuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: h.RecursiveReadonly, UserNamespaces: h.UserNamespaces.Now(),
		}}
	}
	out := []*runtime.RuntimeHandler{wire("", s.deps.Handlers[0])}
	for _, h := range s.deps.Handlers {
		out = append(out, wire(h.Name, h))
	}
	return out
}
