package server

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// guardName is the file that says who the guard is: pid, start time, and the journal's descriptor.
const guardName = "keeper.guard"

// guardProcess is the guard's name, proc_pid_comm(5).
const guardProcess = "keeper-guard"

// guard is the keeper's guard: a process that shares its descriptors and does nothing, so that they outlive it, whether it
// is killed alone or with the daemon.
type guard struct {
	mu    sync.Mutex
	path  string
	pid   int
	start string   // time, by which the pid is told from a later process's
	pidfd *os.File // nil: there is none now
	over  bool     // the keeper ends
}

// protect starts a guard, and another one whenever it is killed. Without one the keeper works all the same, and what it holds
// is lost with it, but for what the daemon has duplicates of.
func (s *Server) protect(l *Listener) error {
	s.lean.refresh(s.log)
	s.reaper.expect(1)
	pid, pidfd, err := nsutil.StartGuard(guardProcess, l.lock)
	if err != nil {
		s.reaper.expect(-1)
		return err
	}
	child, err := s.reaper.register(pid)
	if err != nil {
		pidfd.Close()
		return err
	}
	g := &s.guard
	if !g.began(filepath.Join(l.path, guardName), pid, pidfd) {
		return nil
	}
	ignore := func(syscall.WaitStatus, time.Time) {}
	s.reaper.whenGone(child, ignore, func(syscall.WaitStatus, time.Time) {
		if g.gone() {
			return
		}
		s.log.Warn("the guard was killed, starting another one")
		if err := s.protect(l); err != nil {
			s.log.Error("no guard: what is held is lost with this process", "err", err)
		}
	})
	return s.journal.published(g.publish)
}

// began takes over a guard that was started. Of a keeper that ends meanwhile, nothing is to be kept: it is ended, and false returned.
func (g *guard) began(path string, pid int, pidfd *os.File) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.path, g.pid, g.pidfd, g.start = path, pid, pidfd, startTime(pid)
	if g.over {
		g.kill()
	}
	return !g.over
}

// publish writes down where an heir finds the journal.
func (g *guard) publish(journal int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over { // there is nothing to be found
		return nil
	}
	text := fmt.Sprintf("%d %s %d\n", g.pid, g.start, journal)
	if err := os.WriteFile(g.path+".tmp", []byte(text), 0o600); err != nil {
		return fmt.Errorf("record guard: %w", err)
	}
	return os.Rename(g.path+".tmp", g.path)
}

// gone lets go of a guard that has ended, and says whether there is to be no other.
func (g *guard) gone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pidfd.Close()
	g.pidfd = nil // waiting for it would never end
	return g.over
}

// end ends the guard with the keeper.
func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.path != "" {
		_ = os.Remove(g.path) // names nobody any more
	}
	if g.pidfd != nil {
		g.kill()
	}
}

// kill ends the guard, which is there. Preconditions: mu held.
func (g *guard) kill() {
	_ = nsutil.PidfdSignal(g.pidfd, unix.SIGKILL)
	_, _ = nsutil.PidfdAwaitEnd(g.pidfd, -1)
}

// startTime is a process's. Empty: there is no such process.
func startTime(pid int) string { return nsutil.ReadProcStat(pid).Field(22) }

// left is the guard of an earlier keeper.
type left struct {
	pidfd   *os.File
	journal int
}

// findGuard returns the guard that an earlier keeper of the state directory has left; nil: none.
func findGuard(dir string) (*left, error) {
	text, err := os.ReadFile(filepath.Join(dir, guardName))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pid, journal int
	var start string
	if _, err := fmt.Sscan(string(text), &pid, &start, &journal); err != nil {
		return nil, fmt.Errorf("read %s: %w", guardName, err)
	}
	pidfd, err := nsutil.PidfdOpen(pid)
	if err != nil {
		return nil, nil // it has ended
	}
	// With the handle in hand: it is the one that was named, and not a later process of the same number.
	if start != startTime(pid) {
		pidfd.Close()
		return nil, nil
	}
	return &left{pidfd, journal}, nil
}

// take returns a duplicate of a descriptor.
func (l *left) take(fd int, name string) (*os.File, error) {
	return nsutil.PidfdGetFile(l.pidfd, fd, name)
}

// end ends it: what it holds is in other hands.
func (l *left) end() error {
	defer l.pidfd.Close()
	if err := nsutil.PidfdSignal(l.pidfd, unix.SIGKILL); err != nil {
		return err
	}
	_, err := nsutil.PidfdAwaitEnd(l.pidfd, -1)
	return err
}
