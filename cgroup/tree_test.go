package cgroup

import (
	"context"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"tare/spec"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLifecycle(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		g := create(t, tree)
		again, err := tree.Load(g.Path())
		if err != nil {
			t.Fatal(err)
		}
		cmd := spawn(t, g, 3)
		if err := again.Remove(t.Context()); !errors.Is(err, errdefs.ErrFailedPrecondition) {
			t.Errorf("Remove with processes: %v, want FailedPrecondition", err)
		}
		if _, err := tree.Create(t.Context(), g.Path(), nil); !errors.Is(err, errdefs.ErrFailedPrecondition) {
			t.Errorf("Create over processes: %v, want FailedPrecondition", err)
		}
		if pids, err := again.Procs(); err != nil || len(pids) != 3 {
			t.Errorf("Procs after refused calls: %v, %v, want 3", pids, err)
		}
		if err := again.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		if pids, err := again.Procs(); err != nil || len(pids) != 0 {
			t.Errorf("Procs after Kill: %v, %v", pids, err)
		}
		cmd.Wait()
		for range 2 {
			if err := again.Remove(t.Context()); err != nil {
				t.Errorf("Remove: %v", err)
			}
		}
		if _, err := tree.Load(g.Path()); !errdefs.IsNotFound(err) {
			t.Errorf("Load after Remove: %v, want NotFound", err)
		}
	})
}

// TestLoadHalfMade: who made or removed a group may have been killed in between.
func TestLoadHalfMade(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		for _, h := range tree.hierarchies {
			g := create(t, tree)
			for _, other := range tree.hierarchies {
				if other != h {
					if err := other.rmdir(g.dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			half, err := tree.Load(g.Path())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(half.Kill(t.Context()), half.Remove(t.Context())); err != nil {
				t.Error(err)
			}
			if _, err := tree.Load(g.Path()); !errdefs.IsNotFound(err) {
				t.Errorf("Load after Remove: %v, want NotFound", err)
			}
		}
	})
}

func TestCreateReplacesLeftover(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		g := create(t, tree)
		nested := g.dir + "/nested"
		if err := tree.killer().mkdir(nested); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Create(t.Context(), g.Path(), nil); err != nil {
			t.Fatal(err)
		}
		if exists(tree, nested) {
			t.Error("the leftover's directory is still there")
		}
	})
}

func TestMissingParents(t *testing.T) {
	forEachMkdir(t, func(t *testing.T, tree *Tree) {
		ours := path.Join(testRoot, "kubepods/pod1")
		theirs := testRoot + "-theirs"
		for _, h := range tree.hierarchies {
			if err := h.mkdir(theirs[1:]); err != nil {
				t.Fatal(err)
			}
			defer h.rmdir(theirs[1:])
		}
		for parent, stays := range map[string]bool{ours: false, theirs: true, theirs + "/made": false} {
			p, err := tree.Path(parent, spec.NewPodID(), spec.NewContainerID())
			if err != nil {
				t.Fatal(err)
			}
			g, err := tree.Create(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if exists(tree, parent[1:]) != stays {
				t.Errorf("parent %s after the last container: exists %t, want %t", parent, !stays, stays)
			}
		}
		if !exists(tree, testRoot[1:]) {
			t.Error("the default parent went while the tree was open")
		}
	})
}

// TestParentRace makes and removes containers of one vanishing parent from many sides.
func TestParentRace(t *testing.T) {
	forEachMkdir(t, func(t *testing.T, tree *Tree) {
		done := make(chan error)
		for range 4 {
			go func() {
				var failed error
				for range 25 {
					p, _ := tree.Path(testRoot+"/a/b", spec.NewPodID(), spec.NewContainerID())
					g, err := tree.Create(context.Background(), p, nil)
					if err == nil {
						err = g.Remove(context.Background())
					}
					failed = errors.Join(failed, err)
				}
				done <- failed
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if exists(tree, testRoot[1:]+"/a") {
			t.Error("the parent is left")
		}
	})
}

func TestCreateUndone(t *testing.T) {
	tree := openTree(t, "host")
	bad := int64(1)
	for name, r := range map[string]*specs.LinuxResources{
		"refused by the kernel":  {CPU: &specs.LinuxCPU{Quota: &bad}},
		"no such CPU":            {CPU: &specs.LinuxCPU{Cpus: "4000"}},
		"malformed device rules": {Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := tree.Path(testRoot+"/undone", spec.NewPodID(), spec.NewContainerID())
			if err != nil {
				t.Fatal(err)
			}
			if _, err = tree.Create(t.Context(), p, r); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Create: %v, want InvalidArgument", err)
			}
			if exists(tree, testRoot[1:]+"/undone") {
				t.Error("something is left")
			}
		})
	}
}

func TestKillForks(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		g := create(t, tree)
		// Each process replaces itself by a new one all the time, so a list of them is always stale.
		cmd, _ := run(t, g, `f() { (sleep 0.001; f) & (sleep 0.001) & }; for i in 1 2 3 4; do f; done; wait; sleep 1000`)
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := g.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if pids, err := g.Procs(); err != nil || len(pids) != 0 {
			t.Errorf("left after Kill: %v, %v", pids, err)
		}
	})
}

// TestHostileNesting removes what a container with cgroups of its own may leave.
func TestHostileNesting(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		g := create(t, tree)
		h := tree.killer()
		name := strings.Repeat("n", 250)
		fd, err := h.open(g.dir, "", unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 { // 7500 bytes of path
			if err := unix.Mkdirat(fd, name, 0o755); err != nil {
				t.Fatal(err)
			}
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			fd = next
		}
		unix.Close(fd)
		freeze := map[bool][2]string{false: {"freezer.state", "FROZEN"}, true: {"cgroup.freeze", "1"}}[h.v2]
		nested := path.Join(g.dir, name)
		main := spawn(t, g, 2)
		if err := h.write(nested, "cgroup.procs", strconv.Itoa(main.Process.Pid)); err != nil {
			t.Fatal(err)
		}
		if pids, err := g.Procs(); err != nil || len(pids) != 2 {
			t.Errorf("Procs with one of two in a nested cgroup: %v, %v", pids, err)
		}
		if err := h.write(nested, freeze[0], freeze[1]); err != nil {
			t.Fatal(err)
		}
		if err := g.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		if err := g.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestWaitEnds checks that waiting for a group to empty ends with the context, and leaves no fd.
func TestWaitEnds(t *testing.T) {
	tree := openTree(t, kinds(t)[len(kinds(t))-1])
	if !tree.v2() {
		t.Skip("needs a v2 hierarchy")
	}
	g := create(t, tree)
	spawn(t, g, 1)
	before := openFiles(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tree.killer().waitEmpty(ctx, g.dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waitEmpty: %v, want DeadlineExceeded", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
