package leak

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestDiff(t *testing.T) {
	before, after := Snapshot{}, Snapshot{}
	before.add("mount /a tmpfs")
	before.add("mount /b tmpfs")
	after.add("mount /a tmpfs")
	after.add("mount /a tmpfs")
	want := []string{"gone: mount /b tmpfs", "left: mount /a tmpfs #2"}
	if got := Diff(before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIgnore(t *testing.T) {
	s := Snapshot{"link veth1 veth": true, "link lo device": true}
	s, err := s.without("^link veth")
	if err != nil || len(s) != 1 || !s["link lo device"] {
		t.Errorf("got %v, %v", s, err)
	}
	if _, err := s.without("("); err == nil {
		t.Error("a broken expression was accepted")
	}
}

// TestTake makes one thing of each kind and looks for it, and only for it.
func TestTake(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	before, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		make       func(t *testing.T)
	}{
		{"file", "left: file " + dir + "/f", func(t *testing.T) {
			run(t, "touch", dir+"/f")
			t.Cleanup(func() { run(t, "rm", dir+"/f") })
		}},
		{"mount", "left: mount " + dir + " tmpfs", func(t *testing.T) {
			run(t, "mount", "-t", "tmpfs", "leak", dir)
			t.Cleanup(func() { run(t, "umount", dir) })
		}},
		{"link", "left: link leaktest0 bridge", func(t *testing.T) {
			link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "leaktest0"}}
			if err := netlink.LinkAdd(link); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = netlink.LinkDel(link) })
		}},
		{"nft", "left: nft chain ip leaktest c", func(t *testing.T) {
			run(t, "nft", "add table ip leaktest; add chain ip leaktest c")
			t.Cleanup(func() { run(t, "nft", "delete table ip leaktest") })
		}},
		{"cgroup", "left: cgroup " + someCgroup(t), func(t *testing.T) {
			run(t, "mkdir", someCgroup(t))
			t.Cleanup(func() { run(t, "rmdir", someCgroup(t)) })
		}},
		{"process", "left: process ", func(t *testing.T) {
			cmd := exec.Command("unshare", "-m", "sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.make(t)
			await(t, before, dir, c.want)
		})
	}
}

// await takes snapshots until one differs from before by a line that begins with
// want.
func await(t *testing.T, before Snapshot, dir, want string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		after, err := Take(dir)
		if err != nil {
			t.Fatal(err)
		}
		lines := Diff(before, after)
		if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q not found in %q", want, lines)
		}
	}
}

// TestForeignCgroup has a process of this very environment in a cgroup.
func TestForeignCgroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := someCgroup(t)
	run(t, "mkdir", dir)
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		run(t, "rmdir", dir)
	})
	if foreign(dir) {
		t.Error("an empty cgroup belongs to nobody, so it counts")
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if !foreign(dir) {
		t.Error("a cgroup of an ordinary process is none of ours")
	}
}

func TestFDs(t *testing.T) {
	before, err := FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	after, err := FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(Diff(before, after), func(l string) bool { return !strings.HasPrefix(l, "left: fd pipe") })
	if len(lines) != 2 {
		t.Errorf("got %q, want two pipe ends", lines)
	}
}

// someCgroup is a directory that does not exist in some mounted hierarchy.
func someCgroup(t *testing.T) string {
	for _, dir := range []string{"pids", "unified", "."} {
		path := filepath.Join("/sys/fs/cgroup", dir, "cgroup.procs")
		if _, err := os.Stat(path); err == nil {
			return filepath.Join("/sys/fs/cgroup", dir, "leaktest")
		}
	}
	t.Fatal("no cgroup hierarchy is mounted")
	return ""
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}
