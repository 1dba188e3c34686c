package nsutil

import (
	"os"
	"runtime"

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
