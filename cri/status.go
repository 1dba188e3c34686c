package cri

import (
	"context"

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
	var err error
	if r.Verbose {
		resp.Info, err = info("config", s.deps.Config)
	}
	return resp, err
}

// wireHandlers lists the handlers, the default one also under the empty name.
func (s *Server) wireHandlers() []*runtime.RuntimeHandler {
	wire := func(name string, h Handler) *runtime.RuntimeHandler {
		return &runtime.RuntimeHandler{Name: name, Features: &runtime.RuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: h.RecursiveReadonly, UserNamespaces: h.UserNamespaces,
		}}
	}
	out := []*runtime.RuntimeHandler{wire("", s.deps.Handlers[0])}
	for _, h := range s.deps.Handlers {
		out = append(out, wire(h.Name, h))
	}
	return out
}
