package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecSync runs a command in a container and waits for its end.
func (s *Server) ExecSync(ctx context.Context, r *runtime.ExecSyncRequest) (*runtime.ExecSyncResponse, error) {
	timeout, err := seconds(r.Timeout, "timeout")
	if err != nil {
		return nil, err
	}
	if err := command(r.Cmd, "cmd"); err != nil {
		return nil, err
	}
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	result, err := s.deps.Processes.ExecSync(ctx, c.ID, r.Cmd, timeout)
	if err != nil {
		return nil, err
	}
	stdout, stderr := fit(result.Stdout, result.Stderr, maxMessage-messageOverhead)
	return &runtime.ExecSyncResponse{Stdout: stdout, Stderr: stderr, ExitCode: result.ExitCode}, nil
}

// messageOverhead is more than an ExecSyncResponse's fields take beside the output.
const messageOverhead = 1 << 10

// command refuses one that cannot be executed.
func command(cmd []string, at field) error {
	if len(cmd) == 0 || cmd[0] == "" {
		return at.errorf("must not be empty")
	}
	return at.texts(cmd)
}

// fit shortens both streams until they fit into one message together: each may have 16 MiB, and
// the client's limit for a message is as much. Each keeps its half, and what the other leaves.
func fit(stdout, stderr []byte, limit int) ([]byte, []byte) {
	if len(stdout)+len(stderr) <= limit {
		return stdout, stderr
	}
	half := limit / 2
	switch {
	case len(stderr) <= half:
		stdout = stdout[:limit-len(stderr)]
	case len(stdout) <= half:
		stderr = stderr[:limit-len(stdout)]
	default:
		stdout, stderr = stdout[:half], stderr[:half]
	}
	return stdout, stderr
}
