package nsutil

import (
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

// PidfdSignal sends a signal; to a process that has ended, that is no error.
func PidfdSignal(pidfd *os.File, sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(pidfd.Fd()), sig, nil, 0)
	runtime.KeepAlive(pidfd)
	if err == unix.ESRCH {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// PidfdPid is the pid of the process in this PID namespace, read from the descriptor itself
// (pidfd_open(2), fdinfo). ESRCH: it has ended and was reaped.
func PidfdPid(pidfd *os.File) (int, error) {
	path := fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd())
	data, err := os.ReadFile(path)
	runtime.KeepAlive(pidfd)
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

// PidfdWatch duplicates a pidfd for PidfdAwaitExit, so that waiting needs no thread. Non-blocking
// mode, which comes with it, is shared with the original and matters to waitid(2) only.
func PidfdWatch(pidfd *os.File) (*os.File, error) {
	return DuplicateNonblock(pidfd)
}

// pidfdReapBound is how long PidfdAwaitExit waits for a process's parent to reap it. Some inits of
// containers look after their children every few seconds only.
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
// A pidfd becomes readable when the process has ended, and hangs up when its parent has reaped it
// (kernel commit "pidfd_poll: report POLLHUP when pid_task() == NULL", Linux 6.9). The status is kept
// from then on for whoever holds a pidfd (PIDFD_INFO_EXIT, Linux 6.15). On older kernels, and with a
// parent that does not reap, the status stays unknown, pidfdReapBound after the end.
func PidfdAwaitExit(watch *os.File) (PidfdExit, error) {
	raw, err := watch.SyscallConn()
	if err != nil {
		return PidfdExit{}, err
	}
	if err := pidfdPoll(raw, unix.POLLIN); err != nil {
		return PidfdExit{}, err
	}
	e := PidfdExit{At: time.Now()}
	if err := watch.SetReadDeadline(e.At.Add(pidfdReapBound)); err != nil {
		return e, err
	}
	if err := pidfdPoll(raw, unix.POLLHUP); err != nil && !os.IsTimeout(err) {
		return e, err
	}
	e.Status, e.Known, err = pidfdStatus(watch)
	return e, err
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
	err := unix.PidfdSendSignal(int(pidfd.Fd()), sig, nil, pidfdSignalProcessGroup)
	runtime.KeepAlive(pidfd)
	switch err {
	case unix.EINVAL:
		return PidfdSignal(pidfd, sig)
	case unix.ESRCH:
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}
