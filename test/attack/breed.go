package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// breed lets processes loose that are gone before one can look: each forks another and ends. It stays itself, or
// ends at once if told to.
func breed(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for range n {
		if pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); errno != 0 {
			return errno
		} else if pid == 0 {
			flee()
		}
	}
	fmt.Println("bred")
	if len(args) > 1 {
		return nil
	}
	for {
		_ = unix.Pause() // not select: without another goroutine, Go takes that for a deadlock and ends
	}
}

// flee never returns. A fork without execve has no thread of Go's runtime but this one: only raw system calls are safe.
func flee() {
	for {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid != 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
}

// pass hands what it has to who listens at a socket: standard output, the root directory and namespaces.
func pass(args []string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: args[0]})
	if err != nil {
		return err
	}
	fds := []int{1, 2}
	for _, path := range []string{"/", "/dev/shm", "/proc/self/ns/net", "/proc/self/ns/mnt", "/proc/self/ns/pid"} {
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		fds = append(fds, fd)
	}
	_, _, err = conn.WriteMsgUnix([]byte("."), unix.UnixRights(fds...), nil)
	return errors.Join(err, conn.Close())
}
