package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/crash"
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
	// A call of its own each time: the file may have been renamed again since another one opened it.
	key := fmt.Sprintf("reopen log of container %s, %d", id, r.execs.Add(1))
	caller := ctx
	l := containerLog{r, p, c}
	return r.order(ctx, key, func(ctx context.Context) error {
		if err := l.unheard(true); err != nil {
			return err
		}
		crash.Point("log-reopen.noted")
		if err := l.reopen(ctx); err != nil || caller.Err() != nil {
			return err
		}
		return l.unheard(false)
	})
}

// containerLog is a running container's log.
type containerLog struct {
	*Runtime
	pod *store.Pod
	ctr *store.Container
}

func (l *containerLog) reopen(ctx context.Context) error {
	if l.ctr.LogUnheard {
		if err := l.continueRotated(ctx); err != nil {
			l.Log.Warn("continue the log that was put back", slog.String("container", string(l.ctr.ID)), slog.Any("err", err))
		}
	}
	f, err := openLog(l.pod, l.ctr)
	if err != nil {
		return err
	}
	defer f.Close()
	crash.Point("log-reopen.opened")
	defer crash.Point("log-reopen.replaced")
	return l.Keeper.OpenLog(ctx, string(l.ctr.ID), f)
}

// unheard notes whether there is a ReopenLog whose caller may not have heard that it was done.
func (l *containerLog) unheard(yes bool) error {
	_, err := l.Store.Note(l.pod.ID, changeContainer(l.ctr.ID, func(c *store.Container) error {
		c.LogUnheard = yes
		return nil
	}))
	return err
}

// continueRotated has the keeper write to the file that was renamed last, for a moment: a kubelet that did not hear of the
// reopening before may have put that over the new file, and renamed it again by now. Where it has, the keeper carries over
// what it wrote since (logs/carry.go).
func (l *containerLog) continueRotated(ctx context.Context) error {
	held, err := l.Keeper.Fetch(ctx, string(l.ctr.ID))
	if err != nil {
		return err
	}
	defer held.Close()
	if held.PidFD == nil || held.Log == nil {
		return nil
	}
	if st, err := statLog(held.Log); err != nil || st.Nlink > 0 {
		return err
	}
	name, err := l.lastRotated()
	if err != nil || name == "" {
		return err
	}
	rotated, err := openLogAt(l.pod, name, 0)
	if err != nil {
		return err
	}
	defer rotated.Close()
	return l.Keeper.OpenLog(ctx, string(l.ctr.ID), rotated)
}

// lastRotated is the newest of the names the kubelet gives a log that it renames, or empty: they end in its time, and
// in .gz or .tmp when the file is compressed, or on the way there.
func (l *containerLog) lastRotated() (string, error) {
	directory, err := os.OpenRoot(l.pod.Spec.LogDirectory)
	if err != nil {
		return "", err
	}
	defer directory.Close()
	path := filepath.Clean(l.ctr.Spec.LogPath)
	entries, err := fs.ReadDir(directory.FS(), filepath.Dir(path)) // sorted
	if err != nil {
		return "", err
	}
	for _, e := range slices.Backward(entries) {
		stamp, found := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if found && !strings.HasSuffix(stamp, ".gz") && !strings.HasSuffix(stamp, ".tmp") {
			return filepath.Join(filepath.Dir(path), e.Name()), nil
		}
	}
	return "", nil
}

// recover has the keeper write to what is at the log path where that is another file than the one it writes to: a
// kubelet whose ReopenContainerLog failed puts the former file back (pkg/kubelet/logs/container_log_manager.go,
// rotateLatestLog), and a daemon that was killed in the middle of one leaves a new file to which nobody writes. Where there
// is none, the kubelet has renamed it. It will put it back, or, started again, call for another one (processContainer): nothing is
// made for it to overwrite.
func (l *containerLog) recover(ctx context.Context, written *os.File) error {
	f, err := openLogAt(l.pod, l.ctr.Spec.LogPath, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	same, err := sameFile(f, written)
	if err != nil || same {
		return err
	}
	return l.Keeper.OpenLog(ctx, string(l.ctr.ID), f)
}

func sameFile(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y), err
}

func statLog(f *os.File) (st unix.Stat_t, err error) {
	err = os.NewSyscallError("fstat", unix.Fstat(int(f.Fd()), &st))
	return st, err
}

// openLog opens a container's log for appending, and for package logs to look at its end. Only root reads logs
// directly; the kubelet serves them to others. Pods that collect logs may write to the directory, too: no link leads out of it,
// and what is no regular file is no log. A FIFO without a reader would hold up whoever opens it (fifo(7)).
func openLog(p *store.Pod, c *store.Container) (*os.File, error) {
	if err := os.MkdirAll(p.Spec.LogDirectory, 0o755); err != nil {
		return nil, logError("log_directory", err)
	}
	return openLogAt(p, c.Spec.LogPath, os.O_CREATE)
}

// openLogAt opens a path in the pod's log directory; with O_CREATE, it is made.
func openLogAt(p *store.Pod, path string, create int) (*os.File, error) {
	directory, err := os.OpenRoot(p.Spec.LogDirectory)
	if err != nil {
		return nil, logError("log_directory", err)
	}
	defer directory.Close()
	path = filepath.Clean(path)
	if create != 0 {
		if err := directory.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, logError("log_path", err)
		}
	}
	f, err := directory.OpenFile(path, os.O_RDWR|os.O_APPEND|create|unix.O_NONBLOCK|unix.O_NOCTTY, 0o640)
	if err != nil {
		return nil, logError("log_path", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, logError("log_path", errors.Join(err, fmt.Errorf("%s is not a regular file", filepath.Join(p.Spec.LogDirectory, path))))
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
