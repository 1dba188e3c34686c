package nsutil

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetNS calls f on a thread that is in the network namespace ns, and returns its error. What f
// makes there, a socket above all, stays in the namespace (network_namespaces(7)) and may be used
// from everywhere. f must not start goroutines that count on the namespace: they run on other
// threads. Errors of f come back as they are.
func InNetNS(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- inNetNS(ns, f) }() // ends with f
	return <-done
}

// inNetNS gives the thread back to the scheduler only if it is where it was: a locked thread ends
// with its goroutine. Preconditions: a goroutine of its own.
func inNetNS(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := threadNetNS()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := setNetNS(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if setNetNS(home) == nil && isThreadNetNS(home) {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

func setNetNS(ns *os.File) error {
	err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	runtime.KeepAlive(ns)
	return os.NewSyscallError("setns", err)
}

// threadNetNS opens the network namespace of the calling thread. Preconditions: locked to it.
func threadNetNS() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// isThreadNetNS says whether the calling thread is in the namespace. Preconditions: locked to it.
func isThreadNetNS(ns *os.File) bool {
	here, err := threadNetNS()
	if err != nil {
		return false
	}
	defer here.Close()
	a, errA := here.Stat()
	b, errB := ns.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}
