package lifecycle

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/store"
)

// stdio is what a container reads and writes: the child's ends, which go away with the launch,
// and ours, which the keeper gets duplicates of.
type stdio struct {
	child [3]*os.File // nil for a terminal
	stdin *os.File    // our end of a pipe; nil: none, or a terminal
	run   keeper.Run  // with our ends
	owner owner
	// console is a terminal's master that an OCI runtime sent.
	console *os.File
	files   []*os.File // all of them, to close
}

// Close closes the daemon's copies.
func (s *stdio) Close() {
	for _, f := range s.files {
		f.Close()
	}
}

// keep takes our ends out of what Close closes: the pipes, or the console that the program gave.
func (s *stdio) keep(given []*os.File) keeper.Custody {
	held := keeper.Custody{Stdout: s.run.Stdout, Stderr: s.run.Stderr}
	s.files = slices.DeleteFunc(s.files, func(f *os.File) bool { return f == held.Stdout || f == held.Stderr })
	for i, f := range given {
		if i == 0 {
			held.Console = f
			continue
		}
		f.Close()
	}
	return held
}

// openStdio makes the pipes and opens the log of a container.
func openStdio(p *store.Pod, c *store.Container) (_ *stdio, err error) {
	s := &stdio{owner: hostUser(p, c)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if c.LogPath != "" {
		if s.run.Log, err = openLog(p, c); err != nil {
			return nil, err
		}
		s.files = append(s.files, s.run.Log)
	}
	if c.OCI.Process.Terminal {
		s.run.Console = true
		return s, nil
	}
	if err := s.openStdin(c.Spec.Stdin); err != nil {
		return nil, err
	}
	if s.run.Stdout, s.child[1], err = s.pipe(); err != nil {
		return nil, err
	}
	s.run.Stderr, s.child[2], err = s.pipe()
	return s, err
}

// openStdin makes a pipe where there is to be an input, which is /dev/null else.
func (s *stdio) openStdin(wanted bool) (err error) {
	if wanted {
		s.child[0], s.stdin, err = s.pipe()
		return err
	}
	if s.child[0], err = nsutil.OpenNull(unix.O_RDONLY); err == nil {
		s.files = append(s.files, s.child[0])
	}
	return err
}

// takeStdin takes our end of stdin out of what Close closes.
func (s *stdio) takeStdin() *os.File {
	s.files = slices.DeleteFunc(s.files, func(f *os.File) bool { return f == s.stdin })
	return s.stdin
}

// pipe makes a pipe whose write end blocks, as programs expect of their stdout; os.Pipe would
// make both ends non-blocking.
func (s *stdio) pipe() (r, w *os.File, err error) {
	r, w, err = openPipe(s.owner, noEnd)
	if err == nil {
		s.files = append(s.files, r, w)
	}
	return r, w, err
}

// owner is a user of the host.
type owner struct{ uid, gid uint32 }

// hostUser is as whom a container's process runs, seen from the host.
func hostUser(p *store.Pod, c *store.Container) owner {
	uid, gid := p.Spec.Namespaces.User.Host(c.User.UID, c.User.GID)
	return owner{uid, gid}
}

// The end of a pipe that is the daemon's: reads and writes there wait in the runtime's poller, and have deadlines.
const (
	readEnd  = 0
	writeEnd = 1
	noEnd    = -1
)

// openPipe makes a pipe that belongs to the process that will write into it, so that it can open it again as
// /dev/stdout, that is through /proc/self/fd. The ends that are not the daemon's block.
func openPipe(o owner, ours int) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	if ours != noEnd {
		_ = unix.SetNonblock(p[ours], true) // cannot fail for a pipe, fcntl(2)
	}
	r, w = os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe")
	if o == (owner{}) {
		return r, w, nil
	}
	if err := w.Chown(int(o.uid), int(o.gid)); err != nil {
		r.Close()
		w.Close()
		return nil, nil, err
	}
	return r, w, nil
}
