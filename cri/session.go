package cri

import (
	"fmt"

	"github.com/containerd/errdefs"

	"tare/store"
)

// streaming is what requests for a session with a process have in common.
type streaming interface {
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
	GetTty() bool
}

// streams refuses sessions without streams, and two outputs of a terminal, which has one.
func streams(r streaming) error {
	if !r.GetStdin() && !r.GetStdout() && !r.GetStderr() {
		return field("stdin").errorf("one of stdin, stdout and stderr must be true")
	}
	if r.GetTty() && r.GetStderr() {
		return field("stderr").errorf("must be false where tty is true")
	}
	return nil
}

// running finds a container that runs.
func (s *Server) running(id string) (*store.Container, error) {
	_, c, err := s.deps.Store.ResolveContainer(id)
	if err != nil {
		return nil, err
	}
	if c.State != store.ContainerRunning {
		return nil, fmt.Errorf("container %s is %s, not running: %w", c.ID.Short(), c.State, errdefs.ErrFailedPrecondition)
	}
	return c, nil
}
