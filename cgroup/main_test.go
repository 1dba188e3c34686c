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

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// testRoot is the parent of every cgroup a test makes without naming one.
var testRoot = fmt.Sprintf("/taretest%d", os.Getpid())

// The main thread is kept for the test driver: a goroutine that ends on it, locked, leaves it
// in the cgroup it entered for the rest of the run.
func init() { runtime.LockOSThread() }

// TestMain fails if a test leaves a cgroup behind.
func TestMain(m *testing.M) {
	if size := os.Getenv(hugeVar); size != "" {
		if err := useHugepages(size); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	for range 500 { // systemd stops a slice soon after what was in it
		if len(leftovers()) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
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

// kinds are the ways a tree is tested: as this host mounts it, on a hybrid host v2's code on the
// hierarchy without controllers too, and the systemd driver where it works.
func kinds(t testing.TB) []string {
	t.Helper()
	mode, _, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if mode == Hybrid {
		return []string{"host", "v2"}
	}
	if ProbeSystemd(t.Context()) == nil {
		return []string{"host", "systemd"}
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
	log := slog.New(slog.DiscardHandler)
	switch kind {
	case "systemd":
		tree, err = Open(t.Context(), DriverSystemd, slice(), log)
	case "v2":
		h := &hierarchy{mount: unifiedRoot, v2: true}
		if err = h.openRoot(); err == nil {
			tree = &Tree{mode: Unified, driver: DriverCgroupfs, root: testRoot, hierarchies: []*hierarchy{h}, log: log}
			err = tree.makeRoot()
		}
	default:
		tree, err = Open(t.Context(), DriverCgroupfs, testRoot, log)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// slice names the slice below this run's own that the names lead to.
func slice(names ...string) string {
	return strings.Join(append([]string{testRoot[1:]}, names...), "-") + ".slice"
}

// forEachKind runs a test on each kind of tree.
func forEachKind(t *testing.T, f func(t *testing.T, tree *Tree)) { forKinds(t, kinds(t), f) }

// forEachMkdir runs it on those where the directories above a container's are ours to make.
func forEachMkdir(t *testing.T, f func(t *testing.T, tree *Tree)) {
	forKinds(t, slices.DeleteFunc(kinds(t), func(kind string) bool { return kind == "systemd" }), f)
}

func forKinds(t *testing.T, kinds []string, f func(t *testing.T, tree *Tree)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { f(t, openTree(t, kind)) })
	}
}

// create makes a container's cgroup and removes it after the test.
func create(t testing.TB, tree *Tree) *Group {
	t.Helper()
	return createWith(t, tree, nil)
}

// createWith makes it with limits and device rules.
func createWith(t testing.TB, tree *Tree, r *specs.LinuxResources) *Group {
	t.Helper()
	pod := spec.NewPodID()
	p, err := tree.Path("", pod, spec.NewContainerID())
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.Create(t.Context(), p, r)
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
		if err := tree.ReleasePod(context.Background(), pod); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run starts a shell command inside the group, as a forked child would enter it.
func run(t testing.TB, g *Group, script string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var enter strings.Builder
	for _, file := range g.Join() {
		fmt.Fprintf(&enter, "echo 0 > '%s' && ", file)
	}
	cmd := exec.Command("/bin/bash", "-c", enter.String()+"true || exit 99; "+script)
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
