package store

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScarceOpen opens a store while others of the process take the last descriptor now and then: a record that could not
// be read for want of one is not broken, and its pod goes on.
func TestScarceOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 100 {
		mustCreate(t, s, newPod(fmt.Sprint(i)))
	}
	s.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if f, err := os.Open("/"); err == nil {
				f.Close()
			}
		}
	}()
	restore := leaveDescriptor(t)
	for range 20 {
		again, broken, err := Open(dir)
		if err == nil {
			again.Close()
		}
		if len(broken) > 0 {
			t.Errorf("%d of 100 are broken: %v", len(broken), broken[0].Err)
			break
		}
	}
	restore()
	close(stop)
	<-stopped
}

// leaveDescriptor leaves this process one to open, and returns what takes that back.
func leaveDescriptor(t *testing.T) (restore func()) {
	t.Helper()
	free, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free.Fd()) + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	free.Close()
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}
}
