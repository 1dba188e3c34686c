package cri

import (
	"context"
	"fmt"
	"math"

	"github.com/containerd/errdefs"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/store"
)

// PortForward prepares a session that connects to ports of a pod, and returns where to connect for
// it.
func (s *Server) PortForward(_ context.Context, r *runtime.PortForwardRequest) (*runtime.PortForwardResponse, error) {
	for i, port := range r.Port {
		if port < 1 || port > math.MaxUint16 {
			return nil, field("port").at(i).errorf("%d is not between 1 and %d", port, math.MaxUint16)
		}
	}
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if p.State != store.PodReady {
		return nil, fmt.Errorf("pod sandbox %s is %s, not ready: %w", p.ID.Short(), p.State, errdefs.ErrFailedPrecondition)
	}
	r.PodSandboxId = string(p.ID)
	return s.deps.Streams.PortForward(r)
}
