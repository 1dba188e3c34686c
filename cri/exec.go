package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Exec prepares a session that runs a command in a container, and returns where to connect for it.
func (s *Server) Exec(_ context.Context, r *runtime.ExecRequest) (*runtime.ExecResponse, error) {
	if err := command(r.Cmd, "cmd"); err != nil {
		return nil, err
	}
	if err := streams(r); err != nil {
		return nil, err
	}
	c, err := s.running(r.ContainerId)
	if err != nil {
		return nil, err
	}
	r.ContainerId = string(c.ID)
	return s.deps.Streams.Exec(r)
}
