package nsutil

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// PidfdGetFile takes a duplicate of another process's descriptor, pidfd_getfd(2). It takes the right to trace that
// process.
func PidfdGetFile(pidfd *os.File, fd int, name string) (*os.File, error) {
	got, err := unix.PidfdGetfd(int(pidfd.Fd()), fd, 0)
	runtime.KeepAlive(pidfd)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	return os.NewFile(uintptr(got), name), nil
}
