package nsutil

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestAttachForNow: what is in sight for a moment is root's alone to see, whatever its own mode is.
func TestAttachForNow(t *testing.T) {
	m, err := detachedTmpfs() // mode 1777
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, err := AttachForNow(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.Path, "file"), nil, 0o644); err != nil {
		t.Error(err)
	}
	look := exec.Command("stat", filepath.Join(a.Path, "file"))
	look.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := look.CombinedOutput(); err == nil {
		t.Errorf("others see it: %s", out)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(a.Path)); !os.IsNotExist(err) {
		t.Errorf("it is not gone: %v", err)
	}
}
