package server

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// sweepEvery is how often known children are looked after while an unknown one that may
// belong to an unfinished launch stands first in line.
const sweepEvery = 10 * time.Millisecond

// reaper waits for all children of the process. There are three kinds: those that launches made
// and registered, those that launches made and have not registered yet, and strangers, which were orphaned
// and came to us as the next subreaper (PR_SET_CHILD_SUBREAPER(2const)). It peeks before it reaps
// (WNOWAIT, waitid(2)): a pid stays taken until its owner is known, so that no launch ever names a
// process that got the number anew.
type reaper struct {
	mu       sync.Mutex
	changed  sync.Cond // gen was raised
	gen      uint64    // of children and expected
	children map[int]*child
	expected int // forks of launches that are not registered yet
	session  int // this process's
}

// child is a registered process: when it has ended, ended is called, once.
type child struct {
	pid    int
	gone   bool
	status syscall.WaitStatus
	at     time.Time
	note   func(syscall.WaitStatus, time.Time)
	ended  func(syscall.WaitStatus, time.Time)
}

func newReaper() *reaper {
	r := &reaper{children: map[int]*child{}}
	r.session, _ = unix.Getsid(0) // of oneself: it cannot fail
	r.changed.L = &r.mu
	return r
}

// expect announces forks to come; each is either registered or, when the launch is over, taken
// back by a negative number.
func (r *reaper) expect(forks int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected += forks
	r.change()
}

func (r *reaper) change() {
	r.gen++
	r.changed.Broadcast()
}

// register makes a pid known that one of the expected forks returned. Nobody else's process can be it.
func (r *reaper) register(pid int) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[pid] != nil {
		return nil, fmt.Errorf("forked process %d is another one's", pid)
	}
	c := &child{pid: pid}
	r.children[pid] = c
	r.expected--
	r.change()
	return c, nil
}

// claim makes a stranger known, by its pidfd; nil if it is not our child, and another one's parent learns of its
// end. It is reaped by nobody meanwhile: children are with mu held.
func (r *reaper) claim(pid int, pidfd *os.File) *child {
	r.mu.Lock()
	defer r.mu.Unlock()
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PIDFD, int(pidfd.Fd()), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	if err != nil || r.children[pid] != nil { // ECHILD
		return nil
	}
	c := &child{pid: pid}
	r.children[pid] = c
	r.change()
	return c
}

// whenGone has f called, in a goroutine of its own, when the child has ended; it may have already. note is called before, and
// before another child is looked after.
func (r *reaper) whenGone(c *child, note, f func(syscall.WaitStatus, time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.gone {
		note(c.status, c.at)
		go f(c.status, c.at)
		return
	}
	c.note, c.ended = note, f
}

// run reaps for ever.
func (r *reaper) run() {
	for {
		r.mu.Lock()
		gen := r.gen
		r.mu.Unlock()
		pid, ok := peek()
		r.mu.Lock()
		switch {
		case !ok: // ECHILD
			for r.gen == gen {
				r.changed.Wait()
			}
		case r.children[pid] == nil && r.expected > 0 && !r.stray(pid):
			r.awaitOwner(gen)
		default:
			r.reap(pid)
		}
		r.mu.Unlock()
	}
}

// peek waits until a child has ended and leaves it as it is. It reports false when there are
// no children.
func peek() (int, bool) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return siginfoPid(&info), true
		}
		if err != unix.EINTR {
			return 0, false
		}
	}
}

// stray says whether a process that has ended is no launch's for certain. A launch may wait for hooks or for a file system that does
// not answer, and orphans are not to pile up meanwhile: programs fork before they begin a session, so that a process of
// theirs is in this one's, or leads its own.
func (r *reaper) stray(pid int) bool {
	session, err := strconv.Atoi(nsutil.ReadProcStat(pid).Field(6))
	return err == nil && session > 0 && session != r.session && session != pid
}

// awaitOwner waits until the children or the expected ones are others than at gen. The kernel names the
// same unreaped child first every time: those behind it are looked after here, however long a
// launch takes. Preconditions: mu held.
func (r *reaper) awaitOwner(gen uint64) {
	for r.gen == gen {
		timer := time.AfterFunc(sweepEvery, r.changed.Broadcast)
		r.changed.Wait()
		timer.Stop()
		for pid := range r.children {
			r.reap(pid)
		}
	}
}

// reap takes the status of a child that has ended, and does nothing for one that has not.
// Preconditions: mu held.
func (r *reaper) reap(pid int) {
	var status syscall.WaitStatus
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got != pid {
			return
		}
		break
	}
	c := r.children[pid]
	if c == nil {
		return // a stranger
	}
	delete(r.children, pid)
	c.gone, c.status, c.at = true, status, time.Now()
	if c.ended != nil {
		c.note(c.status, c.at)
		go c.ended(c.status, c.at)
	}
}
