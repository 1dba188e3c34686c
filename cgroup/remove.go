package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// Remove removes the group with all that is below it, and the parents that were made for it once
// nothing else is in them. It may be repeated. Processes must be gone before (Kill): one still there is
// ErrFailedPrecondition, and the rest is removed all the same.
func (g *Group) Remove(ctx context.Context) error {
	var first error // the others, of the other hierarchies, say the same
	for _, h := range g.tree.hierarchies {
		if err := g.removeFrom(ctx, h); err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return fmt.Errorf("remove cgroup %s: %w", g.path, first)
	}
	return nil
}

// removeFrom removes the group from one hierarchy.
func (g *Group) removeFrom(ctx context.Context, h *hierarchy) error {
	err := h.rmdir(g.dir)
	if errors.Is(err, unix.EBUSY) {
		err = h.removeBusy(ctx, g.dir)
	}
	if err == nil {
		h.pruneParents(path.Dir(g.dir), g.tree.rootDir())
	}
	return err
}

// removeBusy removes a directory that rmdir(2) found busy: because of directories in it, or of
// processes, or of one that is no longer listed but not quite dead.
func (h *hierarchy) removeBusy(ctx context.Context, dir string) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := h.walk(dir, func(parent int, name string) error {
			err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
			if err == unix.ENOENT || err == unix.EBUSY && name != dir {
				return nil // the directory above tells
			}
			return err
		})
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		pids, err := h.procs(dir)
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			return fmt.Errorf("%s still holds %d processes: %w", h.abs(dir), len(pids), errdefs.ErrFailedPrecondition)
		}
		if err := h.settle(ctx, dir, pause); err != nil {
			return err
		}
	}
}

// settle waits for the last exit to be complete. v2 tells when; v1 has nothing to wait on, so there it
// is a pause, growing to a second and then given up: the kernel unlinks a task from its cgroup at
// the latest when it is scheduled away for the last time.
func (h *hierarchy) settle(ctx context.Context, dir string, pause time.Duration) error {
	if h.v2 {
		return h.waitEmpty(ctx, dir)
	}
	if pause > time.Second {
		return &os.PathError{Op: "rmdir", Path: h.abs(dir), Err: unix.EBUSY}
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}
