//go:build !cgo

package nsutil

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// KeepFromChildren leaves this process's private memory out of its future children (MADV_DONTFORK,
// madvise(2)): fork then has no page tables to copy, nothing written here afterwards has to be copied for a
// child's sake, and the child has nothing to give back at its execve. A child of Launch needs none of it, and one of
// os/exec shares it until execve (CLONE_VM). Memory that is mapped later is not covered: to be called
// again when there is more of it.
func KeepFromChildren() error {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	var errs []error
	for lines := bufio.NewScanner(f); lines.Scan(); {
		from, to, ok := writablePrivate(lines.Text())
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTFORK); errno != 0 {
			errs = append(errs, fmt.Errorf("madvise %#x-%#x MADV_DONTFORK: %w", from, to, errno))
		}
	}
	return errors.Join(errs...)
}

// writablePrivate reads a line of proc_pid_maps(5): address range, permissions, and more that does
// not matter.
func writablePrivate(line string) (from, to uintptr, ok bool) {
	var perms string
	if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
		return 0, 0, false
	}
	return from, to, strings.HasPrefix(perms, "rw") && strings.HasSuffix(perms, "p")
}
