package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// push pushes a line into the input of a terminal, as if somebody had typed it.
func push(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, c := range []byte(args[1] + "\n") {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); errno != 0 {
			return &os.PathError{Op: "TIOCSTI", Path: args[0], Err: errno}
		}
	}
	escaped("typed into %s", args[0])
	return nil
}
