package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestFullState fills the file system of the state directory, which is /run on a node, with bytes or with
// inodes. What would need more of it is refused by name; what runs goes on, can be looked into, and ends as ever,
// with its true exit code; all can be removed while the disk is full. With room again, everything works.
func TestFullState(t *testing.T) {
	for name, tmpfs := range map[string]string{"bytes": "size=8m", "inodes": "nr_inodes=400"} {
		t.Run(name, func(t *testing.T) {
			d := ownDaemon(t, options{disk: map[string]string{"state": tmpfs}})
			if err := d.warmUp(); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, d)
			fullState(t, d)
			d.serves(t)
		})
	}
}

func fullState(t *testing.T, d *daemon) {
	p, doomed := d.runPod(t), d.runPod(t)
	running, exits, created := p.start(sleeper), p.start(script("trap : TERM; while :; do sleep 1; done")), p.create(sleeper)
	last := doomed.start(sleeper)
	empty := fill(t, d.path("state"))
	defer empty()

	badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("none")}, codes.ResourceExhausted, "no space left")
	if _, err := p.tryCreate(p.containerConfig(sleeper)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("create: %v", err)
	}
	if err := created.tryStart(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("start: %v", err)
	}
	if out := running.exec("echo on"); out != "on\n" {
		t.Errorf("exec says %q", out)
	}
	if _, err := run("kill", "-TERM", fmt.Sprint(running.pid())); err != nil {
		t.Fatal(err)
	}
	if s := running.finish(); s.ExitCode != 0 {
		t.Errorf("exit code %d, want 0", s.ExitCode)
	}
	exits.stop(0)
	if s := exits.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 {
		t.Errorf("killed container: %s, %d", s.State, s.ExitCode)
	}
	if err := running.tryRemove(); err != nil {
		t.Errorf("remove container: %v", err)
	}
	pid := last.pid()
	doomed.remove()
	gone(t, pid)
	empty()
	if err := created.tryStart(); err != nil {
		t.Errorf("start with room again: %v", err)
	}
	// What was told while the disk was full is on it now.
	d.signal(unix.SIGKILL)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if s := exits.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 {
		t.Errorf("after a restart: %s, %d", s.State, s.ExitCode)
	}
}

// TestFullStateCrash kills the daemon while the disk is full and the exit it has told of is in no file.
func TestFullStateCrash(t *testing.T) {
	d := ownDaemon(t, options{disk: map[string]string{"state": "size=8m"}})
	d.pull(t, busybox)
	p := d.runPod(t)
	c := p.start(script("trap 'exit 7' TERM; sleep 1000000 & wait"))
	c.trapped()
	empty := fill(t, d.path("state"))
	defer empty()
	c.stop(5)
	if s := c.status(); s.ExitCode != 7 {
		t.Errorf("exit code %d, want 7", s.ExitCode)
	}
	d.signal(unix.SIGKILL)
	empty()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.ExitCode != 7 {
		t.Errorf("after the crash: %s, %d, want 7 from the keeper", s.State, s.ExitCode)
	}
}

// TestFullStateStart kills daemon and keeper while the disk is full: both can start again, what runs goes on, and
// can be looked into and removed.
func TestFullStateStart(t *testing.T) {
	d := ownDaemon(t, options{disk: map[string]string{"state": "size=8m"}})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	c := d.runPod(t).start(sleeper)
	pid, keeper := c.pid(), d.keeperPID()
	empty := fill(t, d.path("state"))
	defer empty()
	d.signal(unix.SIGKILL)
	if err := d.start(); err != nil {
		t.Fatalf("start with a full disk: %v", err)
	}
	c.exec("true")
	if err := unix.Kill(keeper, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	recovered(t, c)
	if c.pid() != pid || d.keeperPID() == keeper {
		t.Errorf("container %d of keeper %d is %d of %d now", pid, keeper, c.pid(), d.keeperPID())
	}
	c.pod.remove()
	gone(t, pid)
	empty()
	d.serves(t)
}

// fill takes all bytes and inodes of a file system that are left, and returns what gives them back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	if err := os.Mkdir(ballast, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(ballast, fmt.Sprint(i)), make([]byte, 64<<10), 0o600)
	}
	if !isFull(err) {
		t.Fatal(err)
	}
	// The rest, page by page.
	f, err := os.OpenFile(filepath.Join(ballast, "0"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st := filesystem(t, dir); st.Files == 0 || st.Ffree > 0 {
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
	return func() { _ = os.RemoveAll(ballast) }
}

func isFull(err error) bool { return err != nil && strings.Contains(err.Error(), unix.ENOSPC.Error()) }

func filesystem(t *testing.T, path string) unix.Statfs_t {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// serves checks that a daemon does everything again.
func (d *daemon) serves(t *testing.T) {
	t.Helper()
	p := d.runPod(t)
	c := p.start(sleeper)
	if out := c.exec("echo yes"); out != "yes\n" {
		t.Errorf("exec says %q", out)
	}
	c.stop(2)
	p.remove()
}
