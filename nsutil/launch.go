package nsutil

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Started is a program that reached its execve, or its end.
type Started struct {
	Pid   int        // of the process that went on: the last fork's, as the launcher sees it
	PidFD *os.File   // the caller closes it
	Given []*os.File // what the program gave back (Builder.Give), in order; the caller closes them
}

// Watch is told about the processes a launch makes, before anything else can happen to them, so
// that whoever reaps children knows whose they are. Fork is called for each, in order; the last
// is the one in Started. Launch itself reaps nothing.
type Watch struct {
	// Forked ends the launch by an error.
	Forked func(pid int) error
	// Until bounds the launch, whose processes may be stopped by others in their PID namespace, or wait for a file
	// system of the container's that does not answer. Zero: no bound.
	Until time.Time
}

// Launch forks and runs the program in the child until it executes, exits or fails. An
// *OpError says which operation failed. The child's parent is the calling process, and whoever
// waits for children in it has to reap every process reported to w, also after an error.
func Launch(p *Program, w Watch) (Started, error) {
	parent, child, err := statusPair()
	if err != nil {
		return Started{}, fmt.Errorf("status channel: %w", err)
	}
	defer parent.Close()
	st, m, l, err := start(p, child)
	if err != nil {
		child.Close()
		l.giveBack()
		m.drop()
		return Started{}, err
	}
	err = w.Forked(st.Pid)
	if err == nil && l != nil {
		err = m.awaitApart(st.PidFD, w.Until)
	}
	child.Close()
	l.giveBack()
	if err == nil {
		err = parent.SetReadDeadline(w.Until)
	}
	if err == nil {
		err = follow(p, parent, w, &st)
	}
	if err != nil {
		m.drop() // the child may still be in it
		st.abandon(err)
		return st, err
	}
	if p.Forks() > 0 {
		m.drop() // so may who traced a process that was born among others
		return st, nil
	}
	m.release()
	return st, nil
}

// abandon ends a launch that failed. A child that told so ends by itself.
func (s *Started) abandon(err error) {
	if _, told := err.(*OpError); !told {
		_ = PidfdSignal(s.PidFD, unix.SIGKILL) // fails for who has ended
	}
	s.close()
}

func (s *Started) close() {
	if s.PidFD != nil {
		s.PidFD.Close()
	}
	for _, f := range s.Given {
		f.Close()
	}
	s.PidFD, s.Given = nil, nil
}

// statusPair is the channel between the child and its launcher. Messages keep their borders
// (SOCK_SEQPACKET), and its closing by execve (CLOEXEC) is the sign that the program went through.
// The parent's end waits in the runtime's poller: a launch that hangs costs no thread.
func statusPair() (parent, child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	return os.NewFile(uintptr(fds[0]), "status"), os.NewFile(uintptr(fds[1]), "status"), nil
}

// start makes the child. Its memory is returned beside it, to be released when the child has left it, and the places of its
// descriptors, if it shares this process's table of them until it is apart.
func start(p *Program, status *os.File) (Started, mapping, lent, error) {
	fds := make([]int, len(p.Files), len(p.Files)+1)
	for i, f := range p.Files {
		fds[i] = int(f.Fd())
	}
	l, theirs, err := lend(append(fds, int(status.Fd())))
	if err != nil {
		return Started{}, nil, nil, err
	}
	if l == nil {
		theirs = append(fds, int(status.Fd()))
	}
	closing := closeOthers(theirs)
	m, c, steps, blob, err := newChild(4+len(closing)+len(p.Ops), p.processes(), p.blob)
	if err != nil {
		return Started{}, m, l, err
	}
	given, own := theirs[:len(fds)], theirs[len(fds)]
	begin := []step{c.unblockSignals(), hide()}
	if l != nil {
		begin = append(begin, c.unshareFiles(slices.Max(theirs)+1)...)
		c.birth.flags = unix.CLONE_FILES
	}
	begin = append(begin, closing...)
	copy(steps, begin)
	p.link(steps[len(begin):], blob, given, own)
	c.n, c.status = len(begin)+len(p.Ops), uintptr(own)
	c.birth.flags |= p.CloneFlags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND
	if p.IntoCgroup >= 0 {
		c.birth.flags |= unix.CLONE_INTO_CGROUP
		c.birth.cgroup = uint64(fds[p.IntoCgroup])
	}
	pidns, ours := -1, -1
	if p.IntoPIDs >= 0 {
		f, err := os.Open("/proc/self/ns/pid")
		if err != nil {
			return Started{}, m, l, err
		}
		defer f.Close()
		pidns, ours = fds[p.IntoPIDs], int(f.Fd())
	}

	syscall.ForkLock.Lock()
	pid, pidfd, failed, errno := fork(c, pidns, ours)
	syscall.ForkLock.Unlock()

	runtime.KeepAlive(p)
	if errno != 0 {
		return Started{}, m, l, os.NewSyscallError(failed, errno)
	}
	return Started{Pid: int(pid), PidFD: os.NewFile(uintptr(pidfd), "pidfd")}, m, l, nil
}

// hide is the child's next step: it becomes unreadable through /proc until execve. A process that is not dumpable belongs to
// root there and cannot be traced (proc(5), PR_SET_DUMPABLE(2const)).
func hide() step {
	return step{nr: unix.SYS_PRCTL, a: [6]uintptr{unix.PR_SET_DUMPABLE, 0}, index: -1}
}

// closeOthers are the last steps before the program: the child closes every descriptor that this was not
// given, so that no other pod's namespace, pipe or log can be reached through it (the class of
// CVE-2016-9962 and CVE-2024-21626).
func closeOthers(fds []int) []step {
	keep := append(slices.Clone(fds), 0, 1, 2)
	slices.Sort(keep)
	var steps []step
	next := 0
	closeRange := func(from, to uint) {
		steps = append(steps, step{nr: unix.SYS_CLOSE_RANGE, a: [6]uintptr{uintptr(from), uintptr(to), 0}, index: -1})
	}
	for _, fd := range keep {
		if fd > next {
			closeRange(uint(next), uint(fd-1))
		}
		next = fd + 1
	}
	closeRange(uint(next), uint(^uint32(0)))
	return steps
}

// errTooMuch is a child that reports more than its program does: somebody who traces it speaks for it.
var errTooMuch = errors.New("status channel: more reports than the program makes")

// follow reads the child's reports until the channel closes.
func follow(p *Program, status *os.File, w Watch, st *Started) error {
	buf := make([]byte, reportSize)
	oob := make([]byte, unix.CmsgSpace(4*maxGive))
	forks, gives := p.Forks(), p.count(unix.SYS_SENDMSG) // to come: no program goes back
	for {
		n, oobn, err := recv(status, buf, oob)
		if err != nil {
			return fmt.Errorf("status channel: %w", err)
		}
		if n < reportSize {
			return nil // closed: executed, or ended
		}
		switch m := reportFrom(buf); m.kind {
		case reportFork:
			if forks--; forks < 0 {
				return errTooMuch
			}
			if err := st.replace(int(m.value), w); err != nil {
				return err
			}
		case reportMaps:
			if err := writeMaps(st.Pid, p.Maps); err != nil {
				return err // closing our end ends the child: it waits for an answer
			}
			if _, err := status.Write([]byte{1}); err != nil {
				return os.NewSyscallError("write", err)
			}
		case reportGive:
			files, err := receivedFiles(oob[:oobn])
			if err != nil {
				return err
			}
			st.Given = append(st.Given, files...)
			if gives--; gives < 0 {
				return errTooMuch
			}
		case reportFailed:
			return &OpError{Index: int(m.index), Errno: syscall.Errno(m.value)}
		}
	}
}

func recv(f *os.File, buf, oob []byte) (n, oobn int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var flags int
	perr := raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil {
		return 0, 0, perr
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 { // unix(7): this process has no descriptors left
		some, _ := receivedFiles(oob[:oobn])
		for _, f := range some {
			f.Close()
		}
		err = unix.EMFILE
	}
	return n, oobn, os.NewSyscallError("recvmsg", err)
}

// replace makes pid, just forked by the former process, the one that counts. The report says so, and who traces the
// new process may have its end of the channel: pid has to be a child of ours, which is not reaped before
// Watch.Forked has named it, and one that Watch.Forked has not heard of.
func (s *Started) replace(pid int, w Watch) error {
	fd, err := PidfdOpen(pid)
	if err != nil {
		return err
	}
	if err := unix.Waitid(unix.P_PIDFD, int(fd.Fd()), nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		fd.Close()
		return fmt.Errorf("forked process %d: %w", pid, os.NewSyscallError("waitid", err))
	}
	if err := w.Forked(pid); err != nil {
		fd.Close()
		return err
	}
	s.PidFD.Close()
	s.Pid, s.PidFD = pid, fd
	return nil
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, os.NewSyscallError("recvmsg", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "given"))
		}
	}
	return files, nil
}

// writeMaps maps the ids of the process's new user namespace. The writer needs CAP_SETUID and
// CAP_SETGID in the parent namespace, user_namespaces(7); setgroups stays allowed, since it is
// written by a privileged process.
func writeMaps(pid int, m *IDMaps) error {
	if m == nil {
		return fmt.Errorf("write uid_map of %d: the program carries no maps", pid)
	}
	for _, f := range []struct{ name, data string }{{"uid_map", m.UID}, {"gid_map", m.GID}} {
		path := fmt.Sprintf("/proc/%d/%s", pid, f.name)
		if err := os.WriteFile(path, []byte(f.data), 0); err != nil {
			return fmt.Errorf("write id map: %w", err)
		}
	}
	return nil
}
