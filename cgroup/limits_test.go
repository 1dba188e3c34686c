package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// TestSettings lists what resources become on either version; "!" begins what an error has to say.
func TestSettings(t *testing.T) {
	disk := specs.LinuxBlockIODevice{Major: 8, Minor: 16}
	for _, c := range []struct {
		name   string
		r      specs.LinuxResources
		v1, v2 string
	}{
		{"nothing", specs.LinuxResources{}, "", ""},
		{"zeros", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(0))}, CPU: &specs.LinuxCPU{Quota: ptr(int64(0)), Period: ptr(uint64(0))}}, "", ""},
		{"memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Reservation: ptr(int64(4096))}},
			"memory.limit_in_bytes = 1048576; memory.soft_limit_in_bytes = 4096", "memory.max = 1048576; memory.low = 4096"},
		{"no swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(100))}},
			"memory.limit_in_bytes = 100; memory.memsw.limit_in_bytes = 100?", "memory.max = 100; memory.swap.max = 0?"},
		{"some swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(150))}},
			"memory.limit_in_bytes = 100; memory.memsw.limit_in_bytes = 150", "memory.max = 100; memory.swap.max = 50"},
		{"unlimited", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))}},
			"memory.limit_in_bytes = -1; memory.memsw.limit_in_bytes = -1?", "memory.max = max; memory.swap.max = max?"},
		{"swap below memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(50))}}, "!below the memory limit", "!below the memory limit"},
		{"swap alone", specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(50))}}, "memory.memsw.limit_in_bytes = 50", "!needs a memory limit"},
		{"negative", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-5))}}, "!cannot be -5", "!cannot be -5"},
		{"swappiness", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(0))}}, "memory.swappiness = 0", "!swappiness"},
		{"no OOM killer", specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "!disableOOMKiller", "!disableOOMKiller"},
		{"cpu", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(5000)), Period: ptr(uint64(10000)), Burst: ptr(uint64(0)), Idle: ptr(int64(1)), Cpus: "0-1", Mems: "0"}},
			"cpu.shares = 1024; cpu.cfs_period_us = 10000; cpu.cfs_quota_us = 5000; cpu.cfs_burst_us = 0; cpu.idle = 1; cpuset.cpus = 0-1; cpuset.mems = 0",
			"cpu.weight = 100; cpu.max = 5000 10000; cpu.max.burst = 0; cpu.idle = 1; cpuset.cpus = 0-1; cpuset.mems = 0"},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-1))}}, "cpu.cfs_quota_us = -1", "cpu.max = max"},
		{"real time", specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(10))}}, "cpu.rt_runtime_us = 10", "!realtime"},
		{"pids", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(7))}}, "pids.max = 7", "pids.max = 7"},
		{"pids none", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, "pids.max = max", "pids.max = max"},
		{"pids zero", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}}, "pids.max = 1", "pids.max = 1"},
		{"hugepages", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}, {Pagesize: "1GB"}}},
			"hugetlb.2MB.limit_in_bytes = 4194304; hugetlb.2MB.rsvd.limit_in_bytes = 4194304?; hugetlb.1GB.limit_in_bytes = 0?; hugetlb.1GB.rsvd.limit_in_bytes = 0?",
			"hugetlb.2MB.max = 4194304; hugetlb.2MB.rsvd.max = 4194304?; hugetlb.1GB.max = 0?; hugetlb.1GB.rsvd.max = 0?"},
		{"rdma", specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(3))}}}, "rdma.max = mlx5_1 hca_handle=3", "rdma.max = mlx5_1 hca_handle=3"},
		{"throttle", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(1000)), ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: disk, Rate: 9}}}},
			"blkio.bfq.weight = 1000; blkio.throttle.write_bps_device = 8:16 9", "io.weight = default 10000; io.max = 8:16 wbps=9"},
		{"network", specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}, "net_cls.classid = 1", "!network"},
		{"unified", specs.LinuxResources{Unified: map[string]string{"memory.high": "5", "memory.oom.group": "1"}}, "!unified", `unified["memory.high"] = 5; unified["memory.oom.group"] = 1`},
		{"unified lines", specs.LinuxResources{Unified: map[string]string{"io.max": "8:0 rbps=9\n8:16 wbps=8\n", "io.weight": "55"}}, "!unified",
			`unified["io.max"] = 8:0 rbps=9; unified["io.max"] = 8:16 wbps=8; unified["io.weight"] = 55`},
		{"unified path", specs.LinuxResources{Unified: map[string]string{"../memory.high": "5"}}, "!unified", "!not a controller's file"},
		{"unified core", specs.LinuxResources{Unified: map[string]string{"cgroup.freeze": "1"}}, "!unified", "!not a controller's file"},
		{"unified bare", specs.LinuxResources{Unified: map[string]string{"tasks": "1"}}, "!unified", "!not a controller's file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkSettings(t, "v1", settingsV1, &c.r, c.v1)
			checkSettings(t, "v2", settingsV2, &c.r, c.v2)
		})
	}
}

func checkSettings(t *testing.T, version string, f func(*specs.LinuxResources) ([]setting, error), r *specs.LinuxResources, want string) {
	t.Helper()
	settings, err := f(r)
	if message, ok := strings.CutPrefix(want, "!"); ok {
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v, want an error with %q", version, err, message)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", version, err)
	}
	var lines []string
	for _, s := range settings {
		line := s.String()
		if s.optional {
			line += "?"
		}
		lines = append(lines, line)
	}
	if got := strings.Join(lines, "; "); got != want {
		t.Errorf("%s:\n got %s\nwant %s", version, got, want)
	}
}

func TestWeightOfShares(t *testing.T) {
	for shares := uint64(0); shares <= 300000; shares += 1 + shares/50 {
		if got, want := weightOfShares(shares), cgroups.ConvertCPUSharesToCgroupV2Value(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
}

// read returns a file of the group's on the host, by the path anybody would use.
func read(t *testing.T, g *Group, controller, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.tree.of(controller).mount, g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestSet(t *testing.T) {
	tree := openTree(t, "host")
	if tree.v2() {
		t.Skip("files of cgroup v1")
	}
	g := create(t, tree)
	state := func() string {
		return fmt.Sprint(read(t, g, "memory", "memory.limit_in_bytes"), " ", read(t, g, "memory", "memory.memsw.limit_in_bytes"), " ",
			read(t, g, "cpu", "cpu.shares"), " ", read(t, g, "cpu", "cpu.cfs_quota_us"), " ", read(t, g, "cpu", "cpu.cfs_period_us"), " ",
			read(t, g, "pids", "pids.max"), " ", read(t, g, "cpuset", "cpuset.cpus"))
	}
	memory := func(limit, swap int64) *specs.LinuxMemory { return &specs.LinuxMemory{Limit: &limit, Swap: &swap} }
	cpus := read(t, g, "cpuset", "cpuset.cpus")
	for _, c := range []struct {
		name string
		r    specs.LinuxResources
		want string
	}{
		{"small", specs.LinuxResources{Memory: memory(32<<20, 32<<20), CPU: &specs.LinuxCPU{Shares: ptr(uint64(2)), Quota: ptr(int64(5000)), Period: ptr(uint64(10000))}, Pids: &specs.LinuxPids{Limit: ptr(int64(9))}},
			"33554432 33554432 2 5000 10000 9 " + cpus},
		{"larger", specs.LinuxResources{Memory: memory(64<<20, 128<<20)}, "67108864 134217728 2 5000 10000 9 " + cpus},
		{"smaller", specs.LinuxResources{Memory: memory(16<<20, 16<<20), CPU: &specs.LinuxCPU{Cpus: "0"}}, "16777216 16777216 2 5000 10000 9 0"},
		{"unlimited", specs.LinuxResources{Memory: memory(-1, -1), CPU: &specs.LinuxCPU{Quota: ptr(int64(-1)), Cpus: cpus}},
			"9223372036854771712 9223372036854771712 2 -1 10000 9 " + cpus},
	} {
		if err := g.Set(&c.r); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := state(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	before := state()
	err := g.Set(&specs.LinuxResources{Memory: memory(8<<20, 8<<20), CPU: &specs.LinuxCPU{Shares: ptr(uint64(77)), Quota: ptr(int64(20000)), Period: ptr(uint64(7))}, Pids: &specs.LinuxPids{Limit: ptr(int64(3))}})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "cpu.cfs_period_us = 7") {
		t.Errorf("Set with a bad period: %v", err)
	}
	if got := state(); got != before {
		t.Errorf("after a failed Set: %s, want %s", got, before)
	}
}

func TestAbsentController(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		if tree.of("hugetlb") != nil {
			t.Skip("this host has hugetlb")
		}
		g := create(t, tree)
		limit := specs.LinuxHugepageLimit{Pagesize: "2MB"}
		if err := g.Set(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{limit}}); err != nil {
			t.Errorf("a zero limit: %v", err)
		}
		limit.Limit = 2 << 20
		err := g.Set(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{limit}})
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "no hugetlb cgroup controller") {
			t.Errorf("Set: %v, want FailedPrecondition naming hugetlb", err)
		}
	})
}

func TestOOM(t *testing.T) {
	tree := openTree(t, "host")
	g := create(t, tree)
	if n, err := g.OOM(); n != 0 || err != nil {
		t.Errorf("OOM of a new group: %d, %v", n, err)
	}
	limit := int64(16 << 20)
	if err := g.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}); err != nil {
		t.Fatal(err)
	}
	cmd, _ := run(t, g, "exec tail /dev/zero")
	if err := cmd.Wait(); err == nil {
		t.Error("a process took more memory than the limit")
	}
	if n, err := g.OOM(); n == 0 || err != nil {
		t.Errorf("OOM after a kill: %d, %v", n, err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.OOM(); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("OOM after Remove: %v, want NotFound", err)
	}
}
