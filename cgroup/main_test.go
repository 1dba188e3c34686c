package cgroup

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/spec"

	"golang.org/x/sys/unix"
)

// testRoot is the parent of every cgroup a test makes without naming one.
var testRoot = fmt.Sprintf("/tare-test-%d", os.Getpid())

// The main thread is kept for the test driver: a goroutine that ends on it, locked, leaves it
// in the cgroup it entered for the rest of the run.
func init() { runtime.LockOSThread() }

// TestMain fails if a test leaves a cgroup behind.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range leftovers() {
		fmt.Fprintln(os.Stderr, "left behind:", dir)
		code = 1
	}
	os.Exit(code)
}

// leftovers lists this run's cgroup directories in all hierarchies.
func leftovers() []string {
	var found []string
	_ = filepath.WalkDir(mountRoot, func(dir string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix("/"+e.Name(), testRoot) {
			found = append(found, dir)
		}
		return nil
	})
	return found
}

// kinds are the ways a tree is tested: as this host mounts it and, on a hybrid host, v2's code on the
// hierarchy without controllers.
func kinds(t testing.TB) []string {
	t.Helper()
	mode, _, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if mode == Hybrid {
		return []string{"host", "v2"}
	}
	return []string{"host"}
}

// openTree opens a tree of a kind below the test's own parent.
func openTree(t testing.TB, kind string) *Tree {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	var tree *Tree
	var err error
	if kind == "v2" {
		h := &hierarchy{mount: unifiedRoot, v2: true}
		if err = h.openRoot(); err == nil {
			tree = &Tree{mode: Unified, driver: DriverCgroupfs, root: testRoot, hierarchies: []*hierarchy{h}, log: slog.New(slog.DiscardHandler)}
			err = tree.makeRoot()
		}
	} else {
		tree, err = Open(DriverCgroupfs, testRoot, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// forEachKind runs a test on each kind of tree.
func forEachKind(t *testing.T, f func(t *testing.T, tree *Tree)) {
	for _, kind := range kinds(t) {
		t.Run(kind, func(t *testing.T) { f(t, openTree(t, kind)) })
	}
}

// create makes a container's cgroup and removes it after the test.
func create(t testing.TB, tree *Tree) *Group {
	t.Helper()
	p, err := tree.Path("", spec.NewContainerID())
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.Create(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Kill(context.Background()); err != nil {
			t.Error(err)
		}
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run starts a shell command inside the group, as a forked child would enter it.
func run(t testing.TB, g *Group, script string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	files, err := g.Join()
	if err != nil {
		t.Fatal(err)
	}
	var enter strings.Builder
	for i := range files {
		fmt.Fprintf(&enter, "echo 0 >&%d && exec %d>&- && ", i+3, i+3)
	}
	cmd := exec.Command("/bin/bash", "-c", enter.String()+"true || exit 99; "+script)
	cmd.ExtraFiles = files
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if dir != nil {
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	return cmd, &out
}

// spawn starts n sleeping processes, of which one is known to us, and returns when they are in the group.
func spawn(t testing.TB, g *Group, n int) *exec.Cmd {
	t.Helper()
	cmd, out := run(t, g, strings.Repeat("sleep 1000 & ", n-1)+"exec sleep 1000")
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 500 {
		pids, err := g.Procs()
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == n && slices.Contains(pids, cmd.Process.Pid) && comm(cmd.Process.Pid) == "sleep" {
			return cmd
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("processes do not show up in the cgroup: %s", out)
	return nil
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

// exists reports whether a cgroup directory is there in any of the tree's hierarchies.
func exists(tree *Tree, dir string) bool {
	for _, h := range tree.hierarchies {
		var st unix.Stat_t
		if unix.Fstatat(int(h.root.Fd()), dir, &st, 0) == nil {
			return true
		}
	}
	return false
}
