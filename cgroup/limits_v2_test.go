package cgroup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestSetV2 sets limits where v2 has the controllers.
func TestSetV2(t *testing.T) {
	tree := openTree(t, "host")
	if !tree.v2() {
		t.Skip("needs cgroup v2 with controllers")
	}
	g := create(t, tree)
	state := func() string {
		return fmt.Sprint(read(t, g, "memory", "memory.max"), " ", read(t, g, "memory", "memory.low"), " ", read(t, g, "cpu", "cpu.weight"), " ",
			read(t, g, "cpu", "cpu.max"), " ", read(t, g, "pids", "pids.max"), " ", read(t, g, "cpuset", "cpuset.cpus"))
	}
	memory := func(limit, swap int64) *specs.LinuxMemory { return &specs.LinuxMemory{Limit: &limit, Swap: &swap} }
	for _, c := range []struct {
		name string
		r    specs.LinuxResources
		want string
	}{
		{"small", specs.LinuxResources{Memory: memory(32<<20, 32<<20), CPU: &specs.LinuxCPU{Shares: ptr(uint64(2)), Quota: ptr(int64(5000)), Period: ptr(uint64(10000))}, Pids: &specs.LinuxPids{Limit: ptr(int64(9))}},
			"33554432 0 1 5000 10000 9 "},
		{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(20000))}}, "33554432 0 1 5000 20000 9 "},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-1)), Shares: ptr(uint64(1024)), Cpus: "0"}}, "33554432 0 100 max 20000 9 0"},
		{"by file", specs.LinuxResources{Unified: map[string]string{"memory.low": "4096", "memory.oom.group": "1", "cpu.weight": "7"}}, "33554432 4096 7 max 20000 9 0"},
		{"unlimited", specs.LinuxResources{Memory: memory(-1, -1), Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, "max 4096 7 max 20000 max 0"},
	} {
		if err := g.Set(&c.r); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := state(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for name, r := range map[string]specs.LinuxResources{
		"period":  {Memory: memory(8<<20, 8<<20), CPU: &specs.LinuxCPU{Quota: ptr(int64(5000)), Period: ptr(uint64(7))}, Pids: &specs.LinuxPids{Limit: ptr(int64(3))}},
		"lines":   {Unified: map[string]string{"io.weight": "55", "memory.high": "much"}},
		"by file": {CPU: &specs.LinuxCPU{Shares: ptr(uint64(9)), Mems: "0"}, Unified: map[string]string{"memory.high": "much"}},
	} {
		before := state()
		err := g.Set(&r)
		if !errdefs.IsInvalidArgument(err) {
			t.Fatalf("%s: %v, want InvalidArgument", name, err)
		}
		if !strings.Contains(err.Error(), "cpu.max") && !strings.Contains(err.Error(), `unified["memory.high"]`) {
			t.Errorf("%s: %v does not name what is refused", name, err)
		}
		if got := state(); got != before {
			t.Errorf("%s: after a failed Set: %s, want %s", name, got, before)
		}
	}
	if err := g.Set(&specs.LinuxResources{Unified: map[string]string{"memory.no_such_file": "1"}}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a file that is not there: %v, want FailedPrecondition", err)
	}
	spawn(t, g, 1)
	err := g.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(4096)), CheckBeforeUpdate: ptr(true)}})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a limit below use: %v, want FailedPrecondition", err)
	}
}

// TestControllersHandedDown makes groups at a depth where nobody has enabled controllers yet, also
// below a parent that holds a process and so cannot hand them down.
func TestControllersHandedDown(t *testing.T) {
	tree := openTree(t, "host")
	if !tree.v2() {
		t.Skip("needs cgroup v2 with controllers")
	}
	limits := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}
	p, err := tree.Path(testRoot+"/a/b/c", "pod", "deep")
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.Create(t.Context(), p, limits)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, g, "pids", "pids.max"); got != "5" {
		t.Errorf("pids.max %s, want 5", got)
	}
	cmd := spawn(t, g, 1)
	inside, err := tree.Path(string(p), "pod", "below")
	if err != nil {
		t.Fatal(err)
	}
	limits.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20))} // pids alone could be: it is a threaded controller
	if _, err := tree.Create(t.Context(), inside, limits); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "memory controller") {
		t.Errorf("Create below a group with processes: %v, want FailedPrecondition naming the controller", err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if err := g.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if exists(tree, testRoot[1:]+"/a") {
		t.Error("the parents are left")
	}
}
