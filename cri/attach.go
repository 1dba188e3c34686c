package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Attach prepares a session with a container's first process, and returns where to connect for it.
func (s *Server) Attach(_ context.Context, r *runtime.AttachRequest) (*runtime.AttachResponse, error) {
	if err := streams(r); err != nil {
		return nil, err
	}
	c, err := s.running(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if r.Tty != c.Spec.TTY {
		return nil, field("tty").errorf("is %t, the container's is %t", r.Tty, c.Spec.TTY)
	}
	if r.Stdin && !c.Spec.Stdin {
		return nil, field("stdin").errorf("the container was made without")
	}
	r.ContainerId = string(c.ID)
	return s.deps.Streams.Attach(r)
}
