package cgroup

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// visit is called with a directory of a walk: the open parent and the name below it.
type visit func(parent int, name string) error

// walk calls f for a directory and all below it, deepest first. It goes from descriptor to descriptor,
// because a container that may make cgroups can nest them beyond PATH_MAX. What vanishes
// meanwhile is passed over.
func (h *hierarchy) walk(dir string, f visit) error {
	w := walker{h, f}
	return w.descend(int(h.root.Fd()), dir)
}

type walker struct {
	*hierarchy
	visit visit
}

func (w *walker) descend(parent int, name string) error {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(parent, name, &how)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: w.abs(name), Err: err}
	}
	below, err := w.subdirectories(fd, name)
	for _, sub := range below {
		if err == nil {
			err = w.descend(fd, sub)
		}
	}
	unix.Close(fd)
	if err != nil {
		return err
	}
	return w.visit(parent, name)
}

// subdirectories lists the directories in an open one.
func (w *walker) subdirectories(fd int, name string) ([]string, error) {
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "dup", Path: w.abs(name), Err: err}
	}
	d := os.NewFile(uintptr(again), w.abs(name))
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if gone(err) {
		err = nil // removed while it was read
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// procs lists the processes in a directory and those below it, by their ids in this process's PID
// namespace.
func (h *hierarchy) procs(dir string) ([]int, error) {
	var pids []int
	err := h.walk(dir, func(parent int, name string) error {
		content, err := readAt(parent, name+"/cgroup.procs")
		// ENOTSUP: a threaded cgroup of v2, whose processes its domain lists (cgroups(7)).
		if errors.Is(err, unix.ENOTSUP) || gone(err) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "read", Path: h.abs(name) + "/cgroup.procs", Err: err}
		}
		for line := range strings.Lines(content) {
			// 0: a process of another PID namespace, which we could not signal.
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// readAt reads a small file below an open directory.
func readAt(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	var content []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			unix.Close(fd)
			return "", err
		case n == 0:
			unix.Close(fd)
			return string(content), nil
		default:
			content = append(content, buf[:n]...)
		}
	}
}
