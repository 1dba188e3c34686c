package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPid reads si_pid of what waitid(2) filled in: on 64-bit machines it follows three ints
// and a padding.
func siginfoPid(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16)))
}
