package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/spec"
	"tare/store"
)

// ReopenLog lets a running container's output go on in a new file at its log path: the kubelet
// has renamed the old one.
func (r *Runtime) ReopenLog(ctx context.Context, id spec.ContainerID) error {
	p, c, err := r.Store.Container(id)
	if err != nil {
		return err
	}
	if c.State != store.ContainerRunning {
		return fmt.Errorf("container %s is %s, not running: %w", id.Short(), c.State, errdefs.ErrFailedPrecondition)
	}
	if c.LogPath == "" {
		return nil
	}
	f, err := openLog(p, c)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.Keeper.OpenLog(ctx, string(id), f)
}

// openLog opens a container's log for appending. Only root reads logs directly; the kubelet serves
// them to others. Pods that collect logs may write to the directory, too: no link leads out of it,
// and what is no regular file is no log. A FIFO without a reader would hold up whoever opens it (fifo(7)).
func openLog(p *store.Pod, c *store.Container) (*os.File, error) {
	if err := os.MkdirAll(p.Spec.LogDirectory, 0o755); err != nil {
		return nil, logError("log_directory", err)
	}
	directory, err := os.OpenRoot(p.Spec.LogDirectory)
	if err != nil {
		return nil, logError("log_directory", err)
	}
	defer directory.Close()
	path := filepath.Clean(c.Spec.LogPath)
	if err := directory.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, logError("log_path", err)
	}
	f, err := directory.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, 0o640)
	if err != nil {
		return nil, logError("log_path", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, logError("log_path", errors.Join(err, fmt.Errorf("%s is not a regular file", c.LogPath)))
	}
	return f, nil
}

// logError names the field. That something else is where the log was to be is the request's mistake;
// then the error has one of these numbers, or none.
func logError(field string, err error) error {
	err = fmt.Errorf("%s: %w", field, err)
	errno, failed := errors.AsType[unix.Errno](err)
	if !failed || slices.Contains([]unix.Errno{unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENXIO, unix.ELOOP, unix.ENAMETOOLONG}, errno) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}
