package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Procs lists the processes of the group and of all below it, by their ids in our PID namespace.
func (g *Group) Procs() ([]int, error) {
	h := g.tree.killer()
	pids, err := h.procs(g.at(h))
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", g.path, err)
	}
	return pids, nil
}

// Kill ends every process of the group and of all below it with SIGKILL, forks under way included, and
// returns when none is left. Zombies are the parent's affair and do not count. A group that does
// not exist has none.
func (g *Group) Kill(ctx context.Context) error {
	h, kill := g.tree.killer(), (*hierarchy).killFrozen
	if h.v2 {
		kill = (*hierarchy).killAll
	}
	err := kill(h, ctx, g.at(h))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("kill cgroup %s: %w", g.path, err)
	}
	return nil
}

// killAll kills on v2: one write (cgroup.kill, since Linux 5.14), which catches forks by itself
// (Documentation/admin-guide/cgroup-v2.rst).
func (h *hierarchy) killAll(ctx context.Context, dir string) error {
	if err := h.write(dir, "cgroup.kill", "1"); err != nil {
		return err
	}
	return h.waitEmpty(ctx, dir)
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
		victims, err := h.signalFrozen(dir)
		for _, v := range victims {
			if err == nil {
				err = waitExit(ctx, v)
			}
			v.Close()
		}
		if err != nil {
			return err
		}
	}
}

// signalFrozen sends SIGKILL to the processes of a group while it is frozen and returns their pidfds.
func (h *hierarchy) signalFrozen(dir string) (victims []*os.File, err error) {
	if err := h.write(dir, "freezer.state", "FROZEN"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.write(dir, "freezer.state", "THAWED")) }()

	before, err := h.procs(dir)
	if err != nil {
		return nil, err
	}
	open := make(map[int]int, len(before)) // process → pidfd
	for _, pid := range before {
		// PIDFD_NONBLOCK (Linux 5.10) makes the runtime's poller take it, pidfd_open(2).
		if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
			open[pid] = fd
		}
	}
	// Only now is it certain whom a pidfd means: a number still listed was not reused outside.
	now, err := h.procs(dir)
	for pid, fd := range open {
		if err != nil || !slices.Contains(now, pid) {
			unix.Close(fd)
			continue
		}
		if kill := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); kill != nil && kill != unix.ESRCH {
			err = fmt.Errorf("kill process %d: %w", pid, kill)
		}
		victims = append(victims, os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", pid)))
	}
	return victims, err
}

// waitExit waits until the process of a pidfd has exited; it need not have been reaped.
func waitExit(ctx context.Context, pidfd *os.File) error {
	return waitUntil(ctx, pidfd, func(fd int) (bool, error) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		if err == unix.EINTR {
			err = nil
		}
		return n > 0, err
	})
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
