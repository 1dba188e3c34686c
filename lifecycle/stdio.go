package lifecycle

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tare/container"
	"tare/keeper"
	"tare/store"
)

// stdio is what a container reads and writes: the child's ends, which go away with the launch,
// and ours, which the keeper gets duplicates of.
type stdio struct {
	child [3]*os.File // nil for a terminal
	stdin *os.File    // our end of a pipe; nil: none, or a terminal
	run   keeper.Run  // with our ends
	owner owner
	files []*os.File // all of them, to close
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
	s.child[0], err = os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	s.files = append(s.files, s.child[0])
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
	r, w, err = blockingPipe(s.owner)
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

// blockingPipe makes a pipe that belongs to the process that will write into it, so that it can
// open it again as /dev/stdout, that is through /proc/self/fd.
func blockingPipe(o owner) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
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

// cgroupFiles is how a child joins a group, with the files to close after the launch.
type cgroupFiles struct {
	container.Cgroup
}

// Close closes the files.
func (c cgroupFiles) Close() {
	for _, f := range c.Procs {
		f.Close()
	}
	if c.Dir != nil {
		c.Dir.Close()
	}
}
