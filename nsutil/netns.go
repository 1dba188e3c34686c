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
func InNetNS(ns *os.File, f func() error) error { return netNS.within(ns, f) }

// SetHostname names a UTS namespace, sethostname(2).
func SetHostname(ns *os.File, name string) error {
	return utsNS.within(ns, func() error { return os.NewSyscallError("sethostname", unix.Sethostname([]byte(name))) })
}

// threadNS is a kind of namespace that a thread may be in by itself.
type threadNS struct {
	name string // in /proc/thread-self/ns
	flag int
}

var (
	netNS = threadNS{"net", unix.CLONE_NEWNET}
	utsNS = threadNS{"uts", unix.CLONE_NEWUTS}
)

func (k threadNS) within(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- k.visit(ns, f) }() // ends with f
	return <-done
}

// visit gives the thread back to the scheduler only if it is where it was: a locked thread ends
// with its goroutine. Preconditions: a goroutine of its own.
func (k threadNS) visit(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := k.here()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := k.enter(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s namespace: %w", k.name, err)
	}
	defer func() {
		if k.enter(home) == nil && k.isHere(home) {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

func (k threadNS) enter(ns *os.File) error {
	err := unix.Setns(int(ns.Fd()), k.flag)
	runtime.KeepAlive(ns)
	return os.NewSyscallError("setns", err)
}

// here opens the namespace of the calling thread. Preconditions: locked to it.
func (k threadNS) here() (*os.File, error) { return os.Open("/proc/thread-self/ns/" + k.name) }

// isHere says whether the calling thread is in the namespace. Preconditions: locked to it.
func (k threadNS) isHere(ns *os.File) bool {
	here, err := k.here()
	if err != nil {
		return false
	}
	defer here.Close()
	a, errA := here.Stat()
	b, errB := ns.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}
