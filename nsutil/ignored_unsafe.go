package nsutil

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HeedSignals gives the signals that this process ignores their default action. Whoever started it may
// have had them ignored, on purpose (nohup(1)) or not (glibc's posix_spawn leaves its internal signals so,
// and make(1) hands that down), and an ignored signal stays ignored over execve(2): no container should inherit
// that. For the start of a main package, before it asks for signals.
func HeedSignals() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("read ignored signals: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "SigIgn:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return fmt.Errorf("read ignored signals: %w", err)
		}
		for bit := range 64 { // bit 0 is signal 1, proc_pid_status(5)
			if set&(1<<bit) != 0 {
				if err := defaultAction(bit + 1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// MuteChildren keeps the kernel from sending this process SIGCHLD, which the Go runtime catches for nobody: each end of a child
// would interrupt a thread, or wake one. With the default action the signal is not even sent (sig_task_ignored,
// kernel/signal.c), and unlike with SIG_IGN the child has to be waited for as before, wait(2).
func MuteChildren() error { return defaultAction(int(unix.SIGCHLD)) }

// defaultAction is sigaction(2) with SIG_DFL, past the Go runtime, which leaves the signals of C
// libraries alone.
func defaultAction(sig int) error {
	var act [32]byte // struct sigaction of the kernel, all zero
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigaction", errno)
	}
	return nil
}
