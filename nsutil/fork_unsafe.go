package nsutil

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The hooks that syscall.forkExec itself uses around its raw fork, in the parent: all signals are
// blocked for the thread meanwhile. They are on the Go team's list of symbols kept reachable for gVisor
// (runtime/proc.go). The third, for the child, is not needed: CLONE_CLEAR_SIGHAND resets its handlers.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

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

// unblockSignals is the child's first step: fork blocked them all.
func (c *child) unblockSignals() step {
	return step{nr: unix.SYS_RT_SIGPROCMASK, a: [6]uintptr{unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)), 0, 8}, index: -1}
}

// unshareFiles are the next steps of a child that was born with its parent's table of descriptors: it takes a copy of the
// table below the number from, and says so. The parent leaves open till then what the child is to have (mapping.awaitApart).
func (c *child) unshareFiles(from int) []step {
	c.together = 1
	return []step{
		{nr: unix.SYS_CLOSE_RANGE, a: [6]uintptr{uintptr(from), uintptr(^uint32(0)), unix.CLOSE_RANGE_UNSHARE}, store: &c.together, index: -1},
		{nr: unix.SYS_FUTEX, a: [6]uintptr{uintptr(unsafe.Pointer(&c.together)), futexWake, 1}, index: -1},
	}
}

// Operations of futex(2) on memory that processes share.
const (
	futexWait = 0
	futexWake = 1
)

// apartPoll is after how long the parent looks whether a child that has not said that it is apart is still there.
const apartPoll = 10 * time.Millisecond

// awaitApart returns when the child has a table of descriptors of its own, has ended, or until has passed (zero: never).
func (m mapping) awaitApart(pidfd *os.File, until time.Time) error {
	c := (*child)(unsafe.Pointer(&m[0]))
	for atomic.LoadInt32(&c.together) != 0 {
		if !until.IsZero() && time.Now().After(until) {
			return os.ErrDeadlineExceeded
		}
		bound := unix.NsecToTimespec(apartPoll.Nanoseconds())
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&c.together)), futexWait, 1, uintptr(unsafe.Pointer(&bound)), 0, 0)
		if errno != unix.ETIMEDOUT {
			continue
		}
		if over, err := PidfdEnded(pidfd); over || err != nil {
			return err // what it had to say is in the status channel
		}
	}
	return nil
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

// clone3 is clone3(2) for a child that lives in the function at run, interpret, on the stack that
// args give it. It returns in the parent only.
//
//go:noescape
func clone3(args *cloneArgs, size uintptr, run uintptr, c *child) (pid, errno uintptr)

// interpretAt is where interpret's code is: a function value points to a pointer to it.
func interpretAt() uintptr {
	f := interpret
	return **(**uintptr)(unsafe.Pointer(&f))
}

// born is where the kernel writes the pidfd of a new process: not in memory that the child has, too. Guarded by syscall.ForkLock.
var born int32

// fork makes the child, and returns its pid and pidfd. If pidns is a descriptor, of a PID namespace or of a process in one
// (setns(2)), the child is born there: joining one takes effect for children only, so the thread joins
// it for this one clone, and own, its own namespace, again. failed names the call that
// errno is of.
//
// Preconditions: syscall.ForkLock held; neither a scheduler nor a signal comes between: nothing here
// may be preempted, or start a thread, which would fail in the wrong namespace.
//
//go:noinline
//go:norace
func fork(c *child, pidns, own int) (pid uintptr, pidfd int32, failed string, errno syscall.Errno) {
	var e uintptr
	beforeFork()
	if pidns >= 0 {
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(pidns), unix.CLONE_NEWPID, 0); errno != 0 {
			afterFork()
			return 0, -1, "setns", errno
		}
	}
	pid, e = clone3(&c.birth, unsafe.Sizeof(c.birth), c.run, c)
	if pidns >= 0 {
		// Cannot fail: it is the namespace this process is in, pid_namespaces(7).
		syscall.RawSyscall(unix.SYS_SETNS, uintptr(own), unix.CLONE_NEWPID, 0)
	}
	afterFork()
	return pid, born, "clone3", syscall.Errno(e)
}

// maxTries is how often in all a process tries an openat2(2) again that says EAGAIN: somewhere on the host something was
// renamed or mounted while it followed a "..", and it could not tell whether that led it out of the root.
const maxTries = 10000

// interpret is a child's whole life: it runs the steps, from c.from on. It returns only for clone3 to fork, with
// the arguments, and what the old process says before it ends, or nil. Both processes are back else: the new one with forked 0,
// the old one, also if the fork failed, with what the system call returned and the index of the step after.
//
// In the child there is one thread, no scheduler, no garbage collector and no signal handler: the
// loop makes raw system calls, allocates nothing, calls nothing that could grow the stack, and touches only
// its mapping, the only memory it is sure to have. The last step is execve or exit_group.
//
//go:norace
//go:nosplit
//go:nocheckptr
func interpret(c *child, forked, after int) (*cloneArgs, int, *farewell) {
	var (
		i     int
		j     int
		r     uintptr
		errno syscall.Errno
		s     *step
		a     [6]uintptr
		tries int
		msg   report // on the stack: each process has its own
	)
	i = c.from
	if forked != 0 {
		s = c.step(after - 1)
		if forked < 0 {
			msg.kind, msg.index, msg.value = reportFailed, s.index, int64(-forked)
			syscall.RawSyscall6(unix.SYS_WRITE, c.status, uintptr(unsafe.Pointer(&msg)), unsafe.Sizeof(msg), 0, 0, 0)
			syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 1, 0, 0, 0, 0, 0)
		}
		*s.store = int32(forked)
		i = after
	}
	for ; i < c.n; i++ {
		s = c.step(i)
		if s.nr == uintptr(opFork) {
			c.from, c.again.flags, c.again.exitSignal = i+1, unix.CLONE_PARENT, 0 // its parent's signal is its own, too
			c.again.stack += stackSize
			c.last.kind, c.last.index, c.last.status = reportFork, s.index, c.status
			return &c.again, i + 1, &c.last
		}
		if s.nr == uintptr(opHelper) {
			c.from, c.again.flags, c.again.exitSignal = i+1+int(s.skipErr), 0, uint64(unix.SIGCHLD)
			c.again.stack += stackSize
			return &c.again, i + 1, nil
		}
		a = s.a
		for j = 0; j < len(s.slots); j++ {
			if s.slots[j] != nil {
				a[j] = uintptr(*s.slots[j])
			}
		}
		r, _, errno = syscall.RawSyscall6(s.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == unix.EAGAIN && s.nr == unix.SYS_OPENAT2 && tries < maxTries {
			tries++
			i--
			continue
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
		syscall.RawSyscall6(unix.SYS_WRITE, c.status, uintptr(unsafe.Pointer(&msg)), unsafe.Sizeof(msg), 0, 0, 0)
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0, 0)
	}
	// A program that ends without execve or exit_group: still never return into Go.
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 126, 0, 0, 0, 0, 0)
	}
}

// step is the i-th; not a slice, whose bounds check could panic.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (c *child) step(i int) *step {
	return (*step)(unsafe.Add(unsafe.Pointer(c.steps), uintptr(i)*unsafe.Sizeof(step{})))
}

// link turns the program into steps: blob offsets become addresses, file indices become
// descriptor numbers. memory is a copy of the blob that the steps point into.
func (p *Program) link(steps []step, memory []byte, fds []int, status int) {
	for _, r := range p.rel {
		v := uint64(0)
		if r.kind == argFile {
			v = uint64(fds[r.val])
		} else {
			v = uint64(uintptr(unsafe.Pointer(&memory[r.val])))
		}
		binary.NativeEndian.PutUint64(memory[r.off:], v)
	}
	for i := range p.Ops {
		o, s := &p.Ops[i], &steps[i]
		*s = step{
			nr: uintptr(o.nr), index: int32(i), tolerate: o.tolerate,
			skipOK: int32(o.skipOK), skipErr: int32(o.skipErr), nonzero: o.nonzero,
		}
		if o.store != noStore {
			s.store = (*int32)(unsafe.Pointer(&memory[o.store]))
		}
		for j, a := range o.args {
			switch a.kind {
			case argImm:
				s.a[j] = uintptr(a.val)
			case argBlob:
				s.a[j] = uintptr(unsafe.Pointer(&memory[a.val]))
			case argFile:
				s.a[j] = uintptr(fds[a.val])
			case argSlot:
				s.slots[j] = (*int32)(unsafe.Pointer(&memory[a.val]))
			case argStatus:
				s.a[j] = uintptr(status)
			case argBeside:
				s.a[j] = uintptr(status + int(a.val))
			}
		}
	}
}

// reportFrom reads a child's message.
func reportFrom(buf []byte) report { return *(*report)(unsafe.Pointer(&buf[0])) }
