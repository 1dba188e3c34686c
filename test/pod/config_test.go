package pod

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dropIn writes a further configuration file of the daemon's.
func (d *daemon) dropIn(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = d.path(filepath.Join("config.d", name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, text)
	return path
}

// TestReload reads the configuration again under a container that runs: what is in order counts from
// then on, what is not is told with its place and changes nothing.
func TestReload(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	c := d.runPod(t).start(sleeper)
	pid := c.pid()
	pinned := func(want bool) {
		t.Helper()
		await(t, "the image is pinned as the configuration says", func() error {
			resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: busybox}})
			if err == nil && resp.Image.Pinned != want {
				err = errors.New("it is not")
			}
			return err
		})
	}
	pinned(false)
	d.dropIn(t, "10-pins.toml", "[images]\npinned = ['*busybox*']\n")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	pinned(true)
	bad := d.dropIn(t, "20-bad.toml", "[images]\n\npinned = []\n[log]\nlevle = 'info'\n")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon says what is wrong", func() error {
		if log := d.logFile(); !strings.Contains(log, "the configuration stays as it was") ||
			!strings.Contains(log, bad+":5:1: log.levle: unknown key") {
			return errors.New(tail(log, 3))
		}
		return nil
	})
	pinned(true)
	if got := c.exec("echo here"); got != "here\n" || c.pid() != pid {
		t.Errorf("the container says %q, process %d, was %d", got, c.pid(), pid)
	}
	// Well formed, but no address of this machine: that shows when it is tried. Nothing else of it stays in force: the
	// daemon says at the former level that it serves.
	d.dropIn(t, "20-bad.toml", "streaming.address = '192.0.2.1'\nlog.level = 'error'\n")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon goes back", func() error {
		_, after, found := strings.Cut(d.logFile(), "going back to the former")
		if !found || !strings.Contains(after, "msg=serving") {
			return errors.New(tail(d.logFile(), 3))
		}
		return nil
	})
	if strings.Contains(d.logFile(), "lost keeper") {
		t.Error("the daemon takes over from a keeper that lives")
	}
	pinned(true)
	if got := c.exec("echo here"); got != "here\n" || c.pid() != pid {
		t.Errorf("the container says %q, process %d, was %d", got, c.pid(), pid)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
}

// TestBadConfiguration: a daemon does not start with one, and says where it is wrong.
func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "config.toml"), "cni.bridge = 'none'\n")
	bad := filepath.Join(dir, "config.d", "50.toml")
	writeFile(t, bad, "[cgroup]\ndriver = 'docker'\n")
	out, err := exec.Command(filepath.Join(suite.bin, "tare"), "serve", "--config", filepath.Join(dir, "config.toml"),
		"--listen", "unix://"+filepath.Join(dir, "tare.sock"), "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), bad+":2:1: cgroup.driver") {
		t.Errorf("%v, %s", err, out)
	}
}
