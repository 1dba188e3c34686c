package nsutil

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three hooks that syscall.forkExec itself uses around its raw fork. They are on the Go
// team's list of symbols kept reachable for gVisor (runtime/proc.go). BeforeFork blocks all
// signals for the thread; AfterForkInChild resets the child's handlers and signal mask.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// step is an operation as the child runs it: all arguments are machine words.
type step struct {
	nr       uintptr
	a        [6]uintptr
	slots    [6]*int32 // where to load the argument from, or nil
	store    *int32    // where to store the result, or nil
	tolerate [3]syscall.Errno
	skipOK   int32
	skipErr  int32
	index    int32 // of the operation in the program, or -1: a step of the launcher's own
	nonzero  bool
}

// report is one message of the child on the status channel.
type report struct {
	kind  int32 // reportFork, reportFailed
	index int32
	value int64 // pid or errno
}

const (
	reportFork   = 1
	reportFailed = 2
	reportMaps   = 3
	reportGive   = 4
	reportSize   = int(unsafe.Sizeof(report{}))
)

// cloneArgs is struct clone_args, clone(2).
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls uint64
	setTid, setTidSize, cgroup                                           uint64
}

// birth is what clone3 reads and writes. The address of pidfd is taken at the call and no
// earlier: on a goroutine's stack it may move until then.
type birth struct {
	args  cloneArgs
	pidfd int32
}

// forkAndInterpret clones and runs the steps in the child; it returns in the parent only.
//
// In the child there is one thread, no scheduler, no garbage collector and no signal handler: the
// loop makes raw system calls, allocates nothing, calls nothing that could grow the stack, and touches only
// memory that was prepared before (the child has its own copy of all of it: no CLONE_VM). The
// child never returns: the last step is execve or exit_group.
//
// Preconditions: syscall.ForkLock held.
//
//go:noinline
//go:norace
//go:nocheckptr
func forkAndInterpret(steps []step, status uintptr, born *birth, msg *report) (uintptr, syscall.Errno) {
	var (
		i     int
		j     int
		r     uintptr
		errno syscall.Errno
		s     *step
	)
	born.args.pidfd = uint64(uintptr(unsafe.Pointer(&born.pidfd)))
	beforeFork()
	r, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&born.args)), unsafe.Sizeof(born.args), 0, 0, 0, 0)
	if r != 0 || errno != 0 {
		afterFork()
		return r, errno
	}
	afterForkInChild()
	for i = 0; i < len(steps); i++ {
		s = &steps[i]
		for j = 0; j < len(s.slots); j++ {
			if s.slots[j] != nil {
				s.a[j] = uintptr(*s.slots[j])
			}
		}
		if s.nr == uintptr(opFork) {
			r, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.CLONE_PARENT)|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if errno == 0 && r != 0 {
				msg.kind, msg.index, msg.value = reportFork, s.index, int64(r)
				syscall.RawSyscall(unix.SYS_WRITE, status, uintptr(unsafe.Pointer(msg)), unsafe.Sizeof(*msg))
				syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		} else {
			r, _, errno = syscall.RawSyscall6(s.nr, s.a[0], s.a[1], s.a[2], s.a[3], s.a[4], s.a[5])
		}
		if errno == 0 && s.nonzero && r == 0 {
			errno = unix.EPIPE
		}
		if errno == 0 {
			if s.store != nil {
				*s.store = int32(r)
			}
			i += int(s.skipOK)
			continue
		}
		if errno == s.tolerate[0] || errno == s.tolerate[1] || errno == s.tolerate[2] {
			i += int(s.skipErr)
			continue
		}
		msg.kind, msg.index, msg.value = reportFailed, s.index, int64(errno)
		syscall.RawSyscall(unix.SYS_WRITE, status, uintptr(unsafe.Pointer(msg)), unsafe.Sizeof(*msg))
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
	// A program that ends without execve or exit_group: still never return into Go.
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
	}
}

// link turns the program into steps: blob offsets become addresses, file indices become
// descriptor numbers. The steps point into p.blob, which must stay alive and unmoved until the
// fork (heap objects do not move).
func (p *Program) link(fds []int, status int) []step {
	steps := make([]step, len(p.Ops))
	for _, r := range p.rel {
		v := uint64(0)
		if r.kind == argFile {
			v = uint64(fds[r.val])
		} else {
			v = uint64(uintptr(unsafe.Pointer(&p.blob[r.val])))
		}
		binary.NativeEndian.PutUint64(p.blob[r.off:], v)
	}
	for i := range p.Ops {
		o, s := &p.Ops[i], &steps[i]
		*s = step{
			nr: uintptr(o.nr), index: int32(i), tolerate: o.tolerate,
			skipOK: int32(o.skipOK), skipErr: int32(o.skipErr), nonzero: o.nonzero,
		}
		if o.store != noStore {
			s.store = (*int32)(unsafe.Pointer(&p.blob[o.store]))
		}
		for j, a := range o.args {
			switch a.kind {
			case argImm:
				s.a[j] = uintptr(a.val)
			case argBlob:
				s.a[j] = uintptr(unsafe.Pointer(&p.blob[a.val]))
			case argFile:
				s.a[j] = uintptr(fds[a.val])
			case argSlot:
				s.slots[j] = (*int32)(unsafe.Pointer(&p.blob[a.val]))
			case argStatus:
				s.a[j] = uintptr(status)
			}
		}
	}
	return steps
}

// reportFrom reads a child's message.
func reportFrom(buf []byte) report { return *(*report)(unsafe.Pointer(&buf[0])) }
