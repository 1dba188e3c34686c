package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/spec"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// openSystemd opens a tree of the systemd driver.
func openSystemd(t *testing.T) *Tree {
	t.Helper()
	if err := ProbeSystemd(t.Context()); err != nil {
		t.Skip(err)
	}
	return openTree(t, "systemd")
}

// showUnit returns properties of a unit as systemctl(1) prints them, sorted by systemd.
func showUnit(t *testing.T, unit string, properties ...string) map[string]string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", unit, "-p", strings.Join(properties, ",")).Output()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	return values
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %s: %v: %s", args, err, out)
	}
}

// until waits for what systemd does by itself.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not within 10s: ", what)
}

// TestUnit makes containers of a pod in a slice that is not there, looks at what systemd says of it, and
// takes all away.
func TestUnit(t *testing.T) {
	tree := openSystemd(t)
	pod := spec.PodID("0123abcd")
	var groups []*Group
	for _, id := range []spec.ContainerID{"c1", "c2"} {
		p, err := tree.Path(slice("a", "b"), pod, id)
		if err != nil {
			t.Fatal(err)
		}
		g, err := tree.Create(t.Context(), p, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(7))}})
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, g, "pids", "pids.max"); got != "7" {
			t.Errorf("pids.max %s, want 7", got)
		}
		groups = append(groups, g)
	}
	unit := podUnit(pod)
	got := showUnit(t, unit, "SubState", "ControlGroup", "Delegate", "TasksMax", "OOMPolicy")
	want := map[string]string{
		"SubState": "exited", "Delegate": "yes", "TasksMax": "infinity", "OOMPolicy": "continue",
		"ControlGroup": "/" + expandSlice(slice("a", "b")) + "/" + unit,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("unit: %v, want %v", got, want)
	}
	for _, g := range groups {
		if err := g.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := tree.ReleasePod(t.Context(), pod); err != nil {
			t.Error(err)
		}
	}
	if exists(tree, groups[0].dir[:strings.LastIndex(groups[0].dir, "/")]) {
		t.Error("the unit's directory stays")
	}
	until(t, "the slices are gone", func() bool { return !exists(tree, slice()) })
}

// TestUnitSlices starts pods in one missing slice at once, and in one that somebody else has made.
func TestUnitSlices(t *testing.T) {
	tree := openSystemd(t)
	s, err := dialSystemd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	theirs := slice("theirs")
	limit := []unitProperty{property("TasksMax", uint64(50))}
	if err := s.startTransient(t.Context(), theirs, limit, []transientUnit{}); err != nil {
		t.Fatal(err)
	}
	defer systemctl(t, "stop", slice())
	done := make(chan error)
	for i := range 4 {
		parent := []string{slice("many"), theirs}[i%2]
		go func() {
			var failed error
			for range 4 { // the slice may be stopping when it is needed again
				pod := spec.NewPodID()
				p, err := tree.Path(parent, pod, "c")
				if err == nil {
					_, err = tree.Create(context.Background(), p, nil)
				}
				failed = errors.Join(failed, err, tree.ReleasePod(context.Background(), pod))
			}
			done <- failed
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	until(t, "the slice that was made is gone", func() bool { return !exists(tree, expandSlice(slice("many"))) })
	if got := showUnit(t, theirs, "ActiveState", "TasksMax"); got["ActiveState"] != "active" || got["TasksMax"] != "50" {
		t.Errorf("a slice of somebody else: %v", got)
	}
}

// TestUnitStays: neither emptiness nor what an administrator does to systemd takes a container's cgroup away.
func TestUnitStays(t *testing.T) {
	tree := openSystemd(t)
	g := create(t, tree)
	h := tree.killer()
	limits := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}}
	if err := g.Set(limits); err != nil {
		t.Fatal(err)
	}
	parent := g.dir[:strings.Index(g.dir, "/")]
	for _, args := range [][]string{{"daemon-reload"}, {"daemon-reexec"}, {"set-property", "--runtime", parent, "MemoryMax=200M"}, {"daemon-reload"}} {
		cmd, _ := run(t, g, "true")
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		systemctl(t, args...)
		if got := read(t, g, "memory", "memory.max"); got != "33554432" {
			t.Errorf("memory.max after %s: %s", args, got)
		}
		handed, err := h.read(parent, "cgroup.subtree_control")
		if err != nil || !strings.Contains(handed, "memory") || !strings.Contains(handed, "cpuset") {
			t.Errorf("controllers after %s: %s, %v", args, handed, err)
		}
	}
}

// TestReexec: pods come and go while systemd executes itself anew, and nobody notices.
func TestReexec(t *testing.T) {
	tree := openSystemd(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		var failed error
		pods := 0
		for ; failed == nil && ctx.Err() == nil; pods++ {
			pod := spec.NewPodID()
			p, err := tree.Path(slice("anew"), pod, "c")
			if err == nil {
				_, err = tree.Create(context.Background(), p, nil)
			}
			failed = errors.Join(err, tree.ReleasePod(context.Background(), pod))
		}
		t.Logf("%d pods", pods)
		done <- failed
	}()
	for range 5 {
		systemctl(t, "daemon-reexec")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	until(t, "the slices are gone", func() bool { return !exists(tree, slice("anew")) })
}

// TestUnitStopped: an administrator who stops the unit ends the containers, and the pod can have others.
func TestUnitStopped(t *testing.T) {
	tree := openSystemd(t)
	g := create(t, tree)
	cmd := spawn(t, g, 2)
	systemctl(t, "stop", strings.Split(g.dir, "/")[1])
	cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
		t.Errorf("ended with %v", ws)
	}
	if _, err := g.OOM(); !errdefs.IsNotFound(err) {
		t.Errorf("OOM without a cgroup: %v, want NotFound", err)
	}
	if _, err := tree.Create(t.Context(), g.Path(), nil); err != nil {
		t.Error(err)
	}
	if err := spawn(t, g, 1).Process.Kill(); err != nil {
		t.Error(err)
	}
}

// TestOOMVerdict: every kill for want of memory is told of, however soon the last process has gone and
// nothing else is in the cgroup.
func TestOOMVerdict(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		if tree.of("memory") == nil {
			t.Skip("needs the memory controller")
		}
		for range 10 {
			g := create(t, tree)
			limits := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(8 << 20)), Swap: ptr(int64(8 << 20))}}
			if err := g.Set(limits); err != nil {
				t.Fatal(err)
			}
			cmd, _ := run(t, g, "exec tail /dev/zero")
			cmd.Wait()
			if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
				t.Fatalf("ended with %v", ws)
			}
			if n, err := g.OOM(); err != nil || n == 0 {
				t.Errorf("OOM: %d, %v, want 1", n, err)
			}
		}
	})
}
