package nsutil

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guardState is all that a guard works with: in memory that is shared over fork.
type guardState struct {
	poll  unix.PollFd // the guarded process
	lock  uintptr
	value uint32
	size  uint32
	name  [16]byte
}

// guardGap is after how many free numbers the table of descriptors is taken to be over: the kernel gives the lowest.
const guardGap = 1 << 16

// StartGuard makes a child that shares this process's table of descriptors (CLONE_FILES, clone(2)) and does nothing: what is
// open here outlives this process with it, and an heir takes it by pidfd_getfd(2). When this process has ended, the
// guard closes the sockets and lock, so that peers and rivals notice; then it waits to be killed. No signal but SIGKILL and
// SIGSTOP is delivered to it. Whoever reaps children has to reap it. The caller closes the pidfd.
func StartGuard(name string, lock *os.File) (pid int, pidfd *os.File, err error) {
	self, err := selfPidfd()
	if err != nil {
		return 0, nil, err
	}
	m, c, _, memory, err := newChild(0, 1, make([]byte, unsafe.Sizeof(guardState{})))
	if err != nil {
		return 0, nil, err
	}
	defer m.drop() // the guard keeps its own
	g := (*guardState)(unsafe.Pointer(&memory[0]))
	*g = guardState{poll: unix.PollFd{Fd: int32(self.Fd()), Events: unix.POLLIN}, lock: lock.Fd(), size: 4}
	copy(g.name[:len(g.name)-1], name)
	c.steps, c.run = (*step)(unsafe.Pointer(g)), guardAt()
	c.birth.flags = unix.CLONE_FILES | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND

	syscall.ForkLock.Lock()
	child, own, failed, errno := fork(c, -1, -1)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		return 0, nil, fmt.Errorf("start guard: %w", os.NewSyscallError(failed, errno))
	}
	return int(child), os.NewFile(uintptr(own), "pidfd"), nil
}

// guarded is this process's pidfd. It stays in the table, where guards poll it, one after the other.
var guarded struct {
	mu    sync.Mutex
	pidfd *os.File
}

func selfPidfd() (_ *os.File, err error) {
	guarded.mu.Lock()
	defer guarded.mu.Unlock()
	if guarded.pidfd == nil {
		guarded.pidfd, err = PidfdOpen(os.Getpid())
	}
	return guarded.pidfd, err
}

// guardAt is where guard's code is.
func guardAt() uintptr {
	f := guard
	return **(**uintptr)(unsafe.Pointer(&f))
}

// guard is a guard's whole life, in the place of interpret and under the same rules. All signals stay blocked, as fork has
// left them.
//
//go:norace
//go:nosplit
//go:nocheckptr
func guard(c *child, _, _ int) (*cloneArgs, int, *farewell) {
	var (
		fd, gap, n uintptr
		errno      syscall.Errno
	)
	g := (*guardState)(unsafe.Pointer(c.steps))
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&g.name)), 0, 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_SETSID, 0, 0, 0, 0, 0, 0)
	for n != 1 {
		n, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&g.poll)), 1, 0, 0, 0, 0)
	}
	for gap < guardGap {
		_, _, errno = syscall.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_TYPE,
			uintptr(unsafe.Pointer(&g.value)), uintptr(unsafe.Pointer(&g.size)), 0)
		gap++
		if errno != unix.EBADF {
			gap = 0
		}
		if errno == 0 {
			syscall.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		}
		fd++
	}
	syscall.RawSyscall6(unix.SYS_CLOSE, g.lock, 0, 0, 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}
