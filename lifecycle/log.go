package lifecycle

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"tare/spec"
	"tare/store"
)

// ReopenLog lets a running container's output go on in a new file at its log path: the kubelet
// has renamed the old one.
func (r *Runtime) ReopenLog(ctx context.Context, id spec.ContainerID) error {
	_, c, err := r.Store.Container(id)
	if err != nil {
		return err
	}
	if c.State != store.ContainerRunning {
		return fmt.Errorf("container %s is %s, not running: %w", id.Short(), c.State, errdefs.ErrFailedPrecondition)
	}
	if c.LogPath == "" {
		return nil
	}
	f, err := openLog(c.LogPath)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.Keeper.OpenLog(ctx, string(id), f)
}
