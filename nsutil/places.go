package nsutil

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// placeCount is how many low numbers are kept: a container's program is given about 15 descriptors, an exec's 25.
const placeCount = 256

// places are low numbers of this process's table of descriptors, for those that children are given.
var places struct {
	mu      sync.Mutex
	holder  int   // what is open under a number that is not in use
	numbers []int // ascending
	used    []bool
}

// KeepPlaces keeps low numbers of this process's table of descriptors for those that children of Launch are given. A child then
// copies the table up to these alone (CLOSE_RANGE_UNSHARE, close_range(2)), not thousands of descriptors of
// other containers, which it would but close. To be called once, before many are open.
func KeepPlaces() error {
	p := &places
	p.mu.Lock()
	defer p.mu.Unlock()
	holder, err := unix.Open("/dev/null", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	p.holder = holder
	for range placeCount {
		n, err := unix.FcntlInt(uintptr(holder), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		p.numbers = append(p.numbers, n)
	}
	p.used = make([]bool, placeCount)
	return nil
}

// lent are places in use, as indices of places.numbers.
type lent []int

// lend duplicates descriptors to the lowest free places, and returns their numbers there. nil, without an error: there
// are not as many. The caller gives them back.
func lend(fds []int) (lent, []int, error) {
	p := &places
	p.mu.Lock()
	defer p.mu.Unlock()
	var l lent
	for i := 0; i < len(p.used) && len(l) < len(fds); i++ {
		if !p.used[i] {
			l = append(l, i)
		}
	}
	if len(l) < len(fds) {
		return nil, nil, nil
	}
	numbers := make([]int, len(fds))
	for i, at := range l {
		numbers[i] = p.numbers[at]
		if err := unix.Dup3(fds[i], numbers[i], unix.O_CLOEXEC); err != nil {
			l[:i].closeLocked()
			return nil, nil, fmt.Errorf("descriptor %d for a child: %w", fds[i], os.NewSyscallError("dup3", err))
		}
		p.used[at] = true
	}
	return l, numbers, nil
}

// giveBack closes what is open there.
func (l lent) giveBack() {
	places.mu.Lock()
	defer places.mu.Unlock()
	l.closeLocked()
}

func (l lent) closeLocked() {
	p := &places
	for _, at := range l {
		_ = unix.Dup3(p.holder, p.numbers[at], unix.O_CLOEXEC) // both are open: dup(2) has no reason to fail
		p.used[at] = false
	}
}
