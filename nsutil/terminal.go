package nsutil

import (
	"os"

	"golang.org/x/sys/unix"
)

// SetTerminalSize sets the window size of a terminal, given by its master side; the processes in its
// foreground get SIGWINCH (TIOCSWINSZ, ioctl_tty(2)).
func SetTerminalSize(master *os.File, width, height uint16) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var ierr error
	err = raw.Control(func(fd uintptr) {
		ierr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("ioctl TIOCSWINSZ", ierr)
}
