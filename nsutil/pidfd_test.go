package nsutil

import (
	"os/exec"
	"syscall"
	"testing"
)

// TestUnreaped has a process end whose parent does not look after it.
func TestUnreaped(t *testing.T) {
	for script, want := range map[string]syscall.WaitStatus{
		"exit 7": 7 << 8, "exit 0": 0, "kill -9 $$": syscall.WaitStatus(syscall.SIGKILL), "kill -15 $$": syscall.WaitStatus(syscall.SIGTERM),
	} {
		t.Run(script, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", script)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			pidfd, err := PidfdOpen(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer pidfd.Close()
			watch, err := PidfdWatch(pidfd)
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Close()
			e, err := PidfdAwaitExit(watch)
			if err != nil || !e.Known || e.Status != want {
				t.Errorf("%+v, %v; want status %#x", e, err, int(want))
			}
		})
	}
}
