package nsutil

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PidfdOpen gives a handle on a process that stays its own whatever becomes of the pid,
// pidfd_open(2). The caller closes it. An *os.SyscallError with ESRCH: no such process.
func PidfdOpen(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// PidfdSignal sends a signal; to a process that has ended, that is no error. os.ErrClosed: somebody closes the descriptor, whose
// number may be another process's at once.
func PidfdSignal(pidfd *os.File, sig unix.Signal) error { return pidfdSend(pidfd, sig, 0) }

func pidfdSend(pidfd *os.File, sig unix.Signal, flags int) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), sig, nil, flags) })
	if err != nil {
		return os.ErrClosed // the only error of Control
	}
	if serr == unix.ESRCH {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", serr)
}

// PidfdEnded says whether a process has ended, pidfd_open(2): its descriptor is readable then.
func PidfdEnded(pidfd *os.File) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, 0)
	if err != nil && err != unix.EINTR {
		return false, os.NewSyscallError("poll", err)
	}
	return n > 0, nil
}

// PidfdAwaitEnd waits until a process has ended, for patience, or, below 0, for as long as it takes. It says whether the
// process has.
func PidfdAwaitEnd(pidfd *os.File, patience time.Duration) (bool, error) {
	limit := -1
	if patience >= 0 {
		limit = int(patience.Milliseconds())
	}
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, limit)
		runtime.KeepAlive(pidfd)
		if err != unix.EINTR {
			return ready > 0, os.NewSyscallError("poll", err)
		}
	}
}

// PidfdPid is the pid of the process in this PID namespace, read from the descriptor itself
// (pidfd_open(2), fdinfo). ESRCH: it has ended and was reaped.
func PidfdPid(pidfd *os.File) (int, error) {
	defer runtime.KeepAlive(pidfd)
	return pidOf(int(pidfd.Fd()))
}

func pidOf(pidfd int) (int, error) {
	path := fmt.Sprintf("/proc/self/fdinfo/%d", pidfd)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(value))
			if err == nil && pid <= 0 {
				err = unix.ESRCH
			}
			return pid, err
		}
	}
	return 0, fmt.Errorf("%s: no pid: not a pidfd", path)
}

// PidfdPIDNS opens the PID namespace that the process is in (PIDFD_GET_PID_NAMESPACE, Linux 6.11). The caller closes it.
func PidfdPIDNS(pidfd *os.File) (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(pidfd.Fd()), unix.PIDFD_GET_PID_NAMESPACE)
	runtime.KeepAlive(pidfd)
	if err != nil {
		return nil, os.NewSyscallError("ioctl PIDFD_GET_PID_NAMESPACE", err)
	}
	return os.NewFile(uintptr(fd), "pid"), nil
}

// PidfdWatch duplicates a pidfd for PidfdAwaitExit, so that waiting needs no thread. Non-blocking
// mode, which comes with it, is shared with the original and matters to waitid(2) only.
func PidfdWatch(pidfd *os.File) (*os.File, error) {
	return DuplicateNonblock(pidfd)
}

// pidfdReapBound is how long PidfdAwaitExit waits for a process's parent to reap it if it may not see what the process
// leaves to that. Some inits of containers look after their children every few seconds only.
const pidfdReapBound = 5 * time.Second

// PidfdExit is the end of a process as a pidfd tells it.
type PidfdExit struct {
	At     time.Time
	Known  bool // Status is
	Status syscall.WaitStatus
}

// PidfdAwaitExit waits until a process that need not be the caller's child has ended, on a file
// of PidfdWatch.
//
// A pidfd becomes readable when the process has ended. Until its parent reaps it, it is a zombie, whose status
// stands in /proc. The pidfd hangs up when it is reaped (kernel commit "pidfd_poll: report POLLHUP when pid_task() ==
// NULL", Linux 6.9), and the status is kept from then on for whoever holds a pidfd (PIDFD_INFO_EXIT, Linux 6.15). On older
// kernels the status of one that was reaped at once stays unknown.
func PidfdAwaitExit(watch *os.File) (PidfdExit, error) {
	raw, err := watch.SyscallConn()
	if err != nil {
		return PidfdExit{}, err
	}
	if err := pidfdPoll(raw, unix.POLLIN); err != nil {
		return PidfdExit{}, err
	}
	e := PidfdExit{At: time.Now()}
	if e.Status, e.Known = zombieStatus(raw); e.Known {
		return e, nil
	}
	if err := watch.SetReadDeadline(e.At.Add(pidfdReapBound)); err != nil {
		return e, err
	}
	if err := pidfdPoll(raw, unix.POLLHUP); err != nil && !os.IsTimeout(err) {
		return e, err
	}
	e.Status, e.Known, err = pidfdStatus(watch)
	return e, err
}

// zombieStatus reads the status of a process that nobody has reaped; false: somebody has, or this process may not know it.
// Whom ptrace's access check refuses finds 0 there (proc_pid_stat(5), exit_code); the same check is on the links of ns.
func zombieStatus(raw syscall.RawConn) (status syscall.WaitStatus, ok bool) {
	_ = raw.Control(func(fd uintptr) { // fails for a file that is closed
		pid, err := pidOf(int(fd))
		if err != nil {
			return
		}
		_, denied := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
		stat := ReadProcStat(pid)
		if again, gone := pidOf(int(fd)); denied != nil || gone != nil || again != pid || stat.Field(3) != "Z" {
			return
		}
		code, err := strconv.Atoi(stat.Field(52))
		status, ok = syscall.WaitStatus(code), err == nil
	})
	return status, ok
}

// pidfdPoll waits for one of the events.
func pidfdPoll(raw syscall.RawConn, events int16) error {
	return raw.Read(func(fd uintptr) bool { return pollNow(int(fd))&events != 0 })
}

// pollNow returns what poll(2) reports without waiting.
func pollNow(fd int) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, 0); err != nil {
		return 0
	}
	return p[0].Revents
}

// pidfdStatus asks for the status of a process that was reaped, PIDFD_GET_INFO in linux/pidfd.h;
// false: the kernel does not tell.
func pidfdStatus(pidfd *os.File) (syscall.WaitStatus, bool, error) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var ierr error
	if err := raw.Control(func(fd uintptr) { ierr = unix.IoctlPidfdInfo(int(fd), &info) }); err != nil {
		return 0, false, err
	}
	if ierr != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false, nil
	}
	return syscall.WaitStatus(uint32(info.Exit_code)), true, nil
}

// pidfdSignalProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP of linux/pidfd.h.
const pidfdSignalProcessGroup = 1 << 2

// PidfdSignalGroup sends a signal to the process group that the process leads
// (PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9), or on an older kernel to the process alone. A group that
// has ended is no error.
func PidfdSignalGroup(pidfd *os.File, sig unix.Signal) error {
	err := pidfdSend(pidfd, sig, pidfdSignalProcessGroup)
	if errors.Is(err, unix.EINVAL) {
		return PidfdSignal(pidfd, sig)
	}
	return err
}
