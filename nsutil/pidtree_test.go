package nsutil

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPidfdKillTree kills a shell whose descendants are in sessions of their own.
func TestPidfdKillTree(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip(err)
	}
	const script = `setsid sh -c 'echo $$; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; wait' & sleep 1000 & echo $!; wait`
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pidfd, err := PidfdOpen(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer pidfd.Close()
	var watches []*os.File
	lines := bufio.NewScanner(out)
	for len(watches) < 4 && lines.Scan() {
		pid, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil {
			t.Fatal(err)
		}
		p, err := PidfdOpen(pid)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		watches = append(watches, p)
	}
	if err := PidfdKillTree(pidfd); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	for i, p := range watches {
		poll := []unix.PollFd{{Fd: int32(p.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(10*time.Second/time.Millisecond)); n != 1 {
			t.Errorf("descendant %d lives on: %v", i, err)
			_ = PidfdSignal(p, unix.SIGKILL)
		}
	}
	if err := PidfdKillTree(pidfd); err != nil {
		t.Errorf("of a process that was reaped: %v", err)
	}
}
