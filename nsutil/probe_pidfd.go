package nsutil

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidfdTells probes whether a pidfd keeps the status of a process that was reaped
// (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15). The mask that a kernel answers for a living
// process does not say, so a child is made to end.
var pidfdTells = sync.OnceValue(func() bool {
	b := NewBuilder()
	b.Exit()
	return false
})

var _ = os.Getpid
var _ syscall.WaitStatus
var _ unix.PidfdInfo
