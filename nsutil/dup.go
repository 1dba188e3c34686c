package nsutil

import (
	"os"

	"golang.org/x/sys/unix"
)

// DuplicateNonblock returns another descriptor of f, in non-blocking mode, so that reads and writes wait in
// the runtime's poller and Close ends them. The mode belongs to the open file description: whoever
// shares it sees the change, fcntl(2). f stays as it is otherwise; the caller closes the duplicate.
func DuplicateNonblock(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var derr error
	err = raw.Control(func(from uintptr) {
		if fd, derr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 3); derr != nil {
			derr = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", derr)
			return
		}
		if derr = os.NewSyscallError("fcntl O_NONBLOCK", unix.SetNonblock(fd, true)); derr != nil {
			unix.Close(fd)
		}
	})
	if err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Pollable is DuplicateNonblock that closes f.
func Pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	return DuplicateNonblock(f)
}

// CloseAll closes files, nil ones excepted.
func CloseAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
