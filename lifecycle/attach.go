package lifecycle

import (
	"context"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// Attach joins a client's streams to a running container's.
func (r *Runtime) Attach(context.Context, spec.ContainerID, spec.Streams) error {
	return errdefs.ErrNotImplemented
}
