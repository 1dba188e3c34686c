package server

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// TestGuardGone: a keeper ends that has lost its guard and got no other one, and one that is just getting another keeps none.
func TestGuardGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), guardName)
	var g guard
	pid, pidfd := startGuard(t)
	if !g.began(path, pid, pidfd) {
		t.Fatal("the guard is not wanted")
	}
	g.kill()
	if g.gone() {
		t.Error("there is to be no other one")
	}
	ended := make(chan struct{})
	go func() { g.end(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the keeper waits for a guard that is not there")
	}
	pid, pidfd = startGuard(t)
	if g.began(path, pid, pidfd) {
		t.Error("a guard is wanted by a keeper that has ended")
	}
	if over, err := nsutil.PidfdEnded(pidfd); !over || err != nil {
		t.Errorf("the guard that came too late has not ended: %v", err)
	}
	if err := g.publish(3); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the guard of a keeper that has ended is on record: %v", err)
	}
}

// startGuard starts one that is reaped with the test.
func startGuard(t *testing.T) (pid int, pidfd *os.File) {
	t.Helper()
	lock, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	pid, pidfd, err = nsutil.StartGuard("test-guard", lock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0) // it may have ended
		_, _ = unix.Wait4(pid, nil, 0, nil)
		lock.Close()
	})
	return pid, pidfd
}
