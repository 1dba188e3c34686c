package cri

import (
	"context"
	"math"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StopContainer ends a container's process. One that is not there is stopped.
func (s *Server) StopContainer(ctx context.Context, r *runtime.StopContainerRequest) (*runtime.StopContainerResponse, error) {
	grace, err := seconds(r.Timeout, "timeout")
	if err != nil {
		return nil, err
	}
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err == nil {
		err = s.deps.Containers.StopContainer(ctx, c.ID, grace)
	}
	if err = goneIsDone(err); err != nil {
		return nil, err
	}
	return &runtime.StopContainerResponse{}, nil
}

// seconds converts a number of seconds; one beyond what a duration holds is the longest duration.
func seconds(n int64, at field) (time.Duration, error) {
	if n < 0 {
		return 0, at.errorf("%d is negative", n)
	}
	return time.Duration(min(n, int64(math.MaxInt64/time.Second))) * time.Second, nil
}
