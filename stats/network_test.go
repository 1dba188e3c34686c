package stats

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
)

func TestInterfaces(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	for range 2 { // the first gives the namespace a number, the second finds it
		got, err := interfaces(path)
		if err != nil || len(got) != 1 || got[0] != (Interface{Name: "lo"}) {
			t.Errorf("a new namespace has %+v, %v", got, err)
		}
	}
	if _, err := interfaces(path + "x"); !errdefs.IsNotFound(err) {
		t.Errorf("no namespace: %v", err)
	}
	for _, message := range [][]byte{nil, make([]byte, 15)} {
		if _, err := parseLink(message); err == nil {
			t.Errorf("%d bytes are taken for a message", len(message))
		}
	}
	if _, _, err := parseTraffic(make([]byte, 63)); err == nil {
		t.Error("63 bytes are taken for counters")
	}
}
