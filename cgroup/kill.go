package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Procs lists the processes of the group and of all below it, by their ids in our PID namespace.
func (g *Group) Procs() ([]int, error) {
	h := g.tree.killer()
	pids, err := h.procs(g.dir)
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", g.path, err)
	}
	return pids, nil
}

// Kill ends every process of the group and of all below it with SIGKILL, forks under way included, and
// returns when none is left. Zombies are the parent's affair and do not count. A group that does
// not exist has none.
//
// A killed group must not be entered again: since commit b69bb476dee9 ("cgroup: fix race between fork and
// cgroup.kill") the kernel takes the target's kill count for a kill during the fork if it differs from that of
// the forking process's cgroup, and kills each child born there by CLONE_INTO_CGROUP (seen on Linux 6.18).
func (g *Group) Kill(ctx context.Context) error {
	h, kill := g.tree.killer(), (*hierarchy).killFrozen
	if h.v2 {
		kill = (*hierarchy).killAll
	}
	err := kill(h, ctx, g.dir)
	if err != nil && !gone(err) {
		return fmt.Errorf("kill cgroup %s: %w", g.path, err)
	}
	return nil
}

// killAll kills on v2: one write (cgroup.kill, since Linux 5.14), which catches forks by itself
// (Documentation/admin-guide/cgroup-v2.rst). It then waits by pidfds first, because the kernel holds back a
// notification that follows another within 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV in kernel/cgroup/cgroup.c),
// as that of an exec's end does; populated remains the judge.
func (h *hierarchy) killAll(ctx context.Context, dir string) error {
	if err := h.write(dir, "cgroup.kill", "1"); err != nil {
		return err
	}
	for {
		dying, err := h.hold(dir)
		if err != nil {
			return err
		}
		if len(dying) == 0 {
			return h.waitEmpty(ctx, dir)
		}
		if err := waitExits(ctx, dying); err != nil {
			return err
		}
	}
}

// waitEmpty waits until neither a directory of v2 nor one below it holds a live process: the kernel notifies
// readers of cgroup.events of each change (Documentation/admin-guide/cgroup-v2.rst, "populated").
func (h *hierarchy) waitEmpty(ctx context.Context, dir string) error {
	fd, err := h.open(dir, "cgroup.events", unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	events := os.NewFile(uintptr(fd), h.abs(dir)+"/cgroup.events")
	defer events.Close()
	return waitUntil(ctx, events, func(fd int) (bool, error) {
		var content [128]byte
		n, err := unix.Pread(fd, content[:], 0)
		if err == unix.ENODEV { // removed meanwhile
			return true, nil
		}
		if err != nil {
			return false, err
		}
		populated, err := keyedCount(string(content[:n]), "populated")
		return populated == 0, err
	})
}

// killFrozen kills on v1, where SIGKILL goes to one process at a time: the group is frozen so that
// nothing in it can go on forking, a fork already under way shows up in the next round, and a frozen process
// dies when it is thawed (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst). Nothing waits for
// the state FROZEN, which a process in an uninterruptible wait would delay.
func (h *hierarchy) killFrozen(ctx context.Context, dir string) error {
	for {
		pids, err := h.procs(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if slices.Contains(pids, os.Getpid()) {
			return fmt.Errorf("it holds this very process: %w", errdefs.ErrFailedPrecondition)
		}
		victims, err := h.signalFrozen(dir)
		if err := errors.Join(err, waitExits(ctx, victims)); err != nil {
			return err
		}
	}
}

// signalFrozen sends SIGKILL to the processes of a group while it is frozen and returns them.
func (h *hierarchy) signalFrozen(dir string) (victims []process, err error) {
	if err := h.write(dir, "freezer.state", "FROZEN"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.thaw(dir)) }()

	victims, err = h.hold(dir)
	for _, v := range victims {
		if kill := unix.PidfdSendSignal(v.fd, unix.SIGKILL, nil, 0); kill != nil && kill != unix.ESRCH {
			err = fmt.Errorf("kill process %d: %w", v.pid, kill)
		}
	}
	return victims, err
}

// thaw thaws a group and all below it, which a container may have made and frozen itself: on v1 a frozen
// process does not die (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
func (h *hierarchy) thaw(dir string) error {
	return h.walk(dir, func(parent int, name string) error {
		fd, err := unix.Openat(parent, name+"/freezer.state", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte("THAWED"))
			unix.Close(fd)
		}
		if err == nil || gone(err) {
			return nil
		}
		return &os.PathError{Op: "thaw", Path: h.abs(name), Err: err}
	})
}

// process is one held by its pidfd.
type process struct{ pid, fd int }

// hold opens pidfds of the processes in a directory and below it.
func (h *hierarchy) hold(dir string) ([]process, error) {
	pids, err := h.procs(dir)
	if err != nil || len(pids) == 0 {
		return nil, err
	}
	var held, ours []process
	for _, pid := range pids {
		// PIDFD_NONBLOCK (Linux 5.10) makes the runtime's poller take it, pidfd_open(2).
		if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
			held = append(held, process{pid, fd})
		}
	}
	// Only now is it certain whom a pidfd means: a number still listed was not reused outside.
	pids, err = h.procs(dir)
	for _, p := range held {
		if err == nil && slices.Contains(pids, p.pid) {
			ours = append(ours, p)
		} else {
			unix.Close(p.fd)
		}
	}
	return ours, err
}

// waitExits waits until all have exited, reaped or not, and closes the pidfds.
func waitExits(ctx context.Context, all []process) error {
	var failed error
	for _, p := range all {
		pidfd := os.NewFile(uintptr(p.fd), fmt.Sprintf("pidfd of %d", p.pid))
		if failed == nil {
			failed = waitUntil(ctx, pidfd, readable)
		}
		pidfd.Close()
	}
	return failed
}

// readable reports whether a pidfd's process has exited, pidfd_open(2).
func readable(fd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	if err == unix.EINTR {
		err = nil
	}
	return n > 0, err
}

// waitUntil blocks until done says so, asking again whenever the kernel reports something about
// the file, which must be open with O_NONBLOCK. It takes no thread while it waits.
func waitUntil(ctx context.Context, f *os.File, done func(fd int) (bool, error)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	past := func() { _ = f.SetReadDeadline(aLongTimeAgo) }
	defer context.AfterFunc(ctx, past)()
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		var ok bool
		ok, failed = done(int(fd))
		return ok || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, failed)
}
