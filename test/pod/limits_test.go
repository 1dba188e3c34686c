package pod

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// limited is a row of what may be asked of a container's cgroup, and what its files hold then, by version.
// The name before the dot is v1's hierarchy.
type limited struct {
	name   string
	r      *runtime.LinuxContainerResources
	v1, v2 map[string]string
}

const noLimit = "9223372036854771712" // of v1: the largest number of whole pages

var limits = []limited{
	{"nothing", &runtime.LinuxContainerResources{},
		map[string]string{"cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "memory.limit_in_bytes": noLimit, "memory.memsw.limit_in_bytes": noLimit},
		map[string]string{"cpu.weight": "100", "cpu.max": "max 100000", "memory.max": "max", "memory.swap.max": "max"}},
	{"shares", &runtime.LinuxContainerResources{CpuShares: 512}, map[string]string{"cpu.shares": "512"}, map[string]string{"cpu.weight": "59"}},
	{"least shares", &runtime.LinuxContainerResources{CpuShares: 2}, map[string]string{"cpu.shares": "2"}, map[string]string{"cpu.weight": "1"}},
	{"most shares", &runtime.LinuxContainerResources{CpuShares: 1 << 18}, map[string]string{"cpu.shares": "262144"}, map[string]string{"cpu.weight": "10000"}},
	{"quota", &runtime.LinuxContainerResources{CpuQuota: 25000},
		map[string]string{"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000"}, map[string]string{"cpu.max": "25000 100000"}},
	{"period", &runtime.LinuxContainerResources{CpuPeriod: 50000},
		map[string]string{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "50000"}, map[string]string{"cpu.max": "max 50000"}},
	{"quota and period", &runtime.LinuxContainerResources{CpuQuota: 5000, CpuPeriod: 10000},
		map[string]string{"cpu.cfs_quota_us": "5000", "cpu.cfs_period_us": "10000"}, map[string]string{"cpu.max": "5000 10000"}},
	{"no quota", &runtime.LinuxContainerResources{CpuQuota: -1, CpuPeriod: 20000},
		map[string]string{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "20000"}, map[string]string{"cpu.max": "max 20000"}},
	{"processors", &runtime.LinuxContainerResources{CpusetCpus: "0", CpusetMems: "0"},
		map[string]string{"cpuset.cpus": "0", "cpuset.mems": "0"}, map[string]string{"cpuset.cpus": "0", "cpuset.mems": "0"}},
	{"memory", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20},
		map[string]string{"memory.limit_in_bytes": "67108864"}, map[string]string{"memory.max": "67108864"}},
	{"no swap", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 64 << 20},
		map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864"},
		map[string]string{"memory.max": "67108864", "memory.swap.max": "0"}},
	{"swap", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 96 << 20},
		map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "100663296"},
		map[string]string{"memory.max": "67108864", "memory.swap.max": "33554432"}},
	{"any swap", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: -1},
		map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": noLimit},
		map[string]string{"memory.max": "67108864", "memory.swap.max": "max"}},
	{"no memory limit", &runtime.LinuxContainerResources{MemoryLimitInBytes: -1},
		map[string]string{"memory.limit_in_bytes": noLimit}, map[string]string{"memory.max": "max"}},
	{"by file", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, Unified: map[string]string{
		"memory.min": "4096", "memory.low": "8192", "memory.high": "33554432", "memory.swap.max": "0", "memory.oom.group": "1"}},
		nil, map[string]string{"memory.max": "67108864", "memory.min": "4096", "memory.low": "8192", "memory.high": "33554432", "memory.swap.max": "0", "memory.oom.group": "1"}},
	{"by file wins", &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, Unified: map[string]string{"memory.max": "33554432"}},
		nil, map[string]string{"memory.max": "33554432"}},
	{"score", &runtime.LinuxContainerResources{OomScoreAdj: 500}, map[string]string{}, map[string]string{}},
}

func (c *ctr) holds(t *testing.T, files map[string]string) {
	t.Helper()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		controller, _, _ := strings.Cut(file, ".")
		if got := c.limit(controller, file, file); got != files[file] {
			t.Errorf("%s is %q, want %q", file, got, files[file])
		}
	}
}

func (c *ctr) update(r *runtime.LinuxContainerResources) error {
	_, err := c.runtime.UpdateContainerResources(deadline(c.t), update(c, r))
	return err
}

func resources(r *runtime.LinuxContainerResources) option {
	return func(c *runtime.ContainerConfig) { c.Linux.Resources = r }
}

// TestLimits asks for every limit in every way: at create, of a container that runs, and of one that
// is started afterwards.
func TestLimits(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	ways := map[string]func(t *testing.T, r *runtime.LinuxContainerResources) (*ctr, error){
		"create": func(t *testing.T, r *runtime.LinuxContainerResources) (*ctr, error) {
			config := p.containerConfig(sleeper, resources(r))
			id, err := p.tryCreate(config)
			if err != nil {
				return nil, err
			}
			c := &ctr{p, id, config}
			return c, c.tryStart()
		},
		"running": func(t *testing.T, r *runtime.LinuxContainerResources) (*ctr, error) {
			c := p.start(sleeper)
			return c, c.update(r)
		},
		"created": func(t *testing.T, r *runtime.LinuxContainerResources) (*ctr, error) {
			c := p.create(sleeper)
			if err := c.update(r); err != nil {
				return nil, err
			}
			return c, c.tryStart()
		},
	}
	for _, tt := range limits {
		for _, way := range slices.Sorted(maps.Keys(ways)) {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				want := tt.v1
				if onV2() {
					want = tt.v2
				}
				c, err := ways[way](t, tt.r)
				if want == nil {
					refused(t, err, codes.InvalidArgument, "unified", "v1")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c.holds(t, want)
				if got := procOOMScore(c.pid()); got != fmtInt(int(tt.r.OomScoreAdj)) {
					t.Errorf("oom_score_adj is %s", got)
				}
				if got := c.status().Resources.Linux; !proto.Equal(got, tt.r) && !sameMemory(got, tt.r) {
					t.Errorf("status has %v, want %v", got, tt.r)
				}
				c.stop(0)
			})
		}
	}
}

// sameMemory is equality but for the swap that goes with memory without a limit.
func sameMemory(got, want *runtime.LinuxContainerResources) bool {
	w := proto.Clone(want).(*runtime.LinuxContainerResources)
	w.MemorySwapLimitInBytes = got.MemorySwapLimitInBytes
	return want.MemoryLimitInBytes == -1 && proto.Equal(got, w)
}

func onV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

func procOOMScore(pid int) string {
	data, _ := os.ReadFile(procPath(pid, "oom_score_adj")) // "" is wrong, too
	return strings.TrimSpace(string(data))
}

// TestUpdateAllOrNothing fails late in an update: what came before is taken back.
func TestUpdateAllOrNothing(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	before := &runtime.LinuxContainerResources{CpuShares: 512, CpuQuota: 20000, CpuPeriod: 50000, MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 64 << 20, OomScoreAdj: 300}
	c := p.start(sleeper, resources(before))
	files := map[string]string{"cpu.shares": "512", "cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000", "memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864"}
	if onV2() {
		files = map[string]string{"cpu.weight": "59", "cpu.max": "20000 50000", "memory.max": "67108864", "memory.swap.max": "0"}
	}
	for _, tt := range []struct {
		name  string
		r     *runtime.LinuxContainerResources
		code  codes.Code
		words string
	}{
		{"no such processor", &runtime.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, MemorySwapLimitInBytes: 128 << 20, CpuShares: 77, CpuQuota: 30000, CpuPeriod: 60000, OomScoreAdj: 400, CpusetCpus: "4000"}, codes.InvalidArgument, "cpuset.cpus"},
		{"no such memory node", &runtime.LinuxContainerResources{MemoryLimitInBytes: 32 << 20, MemorySwapLimitInBytes: 32 << 20, CpuShares: 77, CpusetCpus: "0", CpusetMems: "60"}, codes.InvalidArgument, "cpuset.mems"},
		{"memory in use", &runtime.LinuxContainerResources{MemoryLimitInBytes: 4096, MemorySwapLimitInBytes: 4096, CpuShares: 77, OomScoreAdj: 400}, codes.FailedPrecondition, "memory"},
		{"no such file", &runtime.LinuxContainerResources{CpuShares: 77, Unified: map[string]string{"memory.nothing": "1"}}, codes.Unknown, "memory.nothing"},
		{"not a controller's file", &runtime.LinuxContainerResources{CpuShares: 77, Unified: map[string]string{"cgroup.freeze": "1"}}, codes.InvalidArgument, "unified"},
		{"path", &runtime.LinuxContainerResources{CpuShares: 77, Unified: map[string]string{"../memory.max": "1"}}, codes.InvalidArgument, `linux.unified["../memory.max"]`},
		{"quota below 1 ms", &runtime.LinuxContainerResources{CpuShares: 77, CpuQuota: 999}, codes.InvalidArgument, "linux.cpu_quota"},
		{"quota below -1", &runtime.LinuxContainerResources{CpuShares: 77, CpuQuota: -2}, codes.InvalidArgument, "linux.cpu_quota"},
		{"period above 1 s", &runtime.LinuxContainerResources{CpuShares: 77, CpuPeriod: 1000001}, codes.InvalidArgument, "linux.cpu_period"},
		{"processors, not a list", &runtime.LinuxContainerResources{CpuShares: 77, CpusetCpus: "0-"}, codes.InvalidArgument, "linux.cpuset_cpus"},
		{"swap alone", &runtime.LinuxContainerResources{CpuShares: 77, MemorySwapLimitInBytes: 1 << 30}, codes.InvalidArgument, "linux.memory_swap_limit_in_bytes"},
		{"score", &runtime.LinuxContainerResources{CpuShares: 77, OomScoreAdj: 1001}, codes.InvalidArgument, "linux.oom_score_adj"},
		{"page size", &runtime.LinuxContainerResources{CpuShares: 77, HugepageLimits: []*runtime.HugepageLimit{{PageSize: "2M"}}}, codes.InvalidArgument, "linux.hugepage_limits[0].page_size"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.update(tt.r)
			if tt.code == codes.Unknown && !onV2() {
				refused(t, err, codes.InvalidArgument, "unified")
			} else if tt.code == codes.Unknown {
				refused(t, err, codes.FailedPrecondition, tt.words)
			} else {
				refused(t, err, tt.code, tt.words)
			}
			c.holds(t, files)
			if got := procOOMScore(c.pid()); got != "300" {
				t.Errorf("oom_score_adj is %s", got)
			}
			if got := c.status().Resources.Linux; !proto.Equal(got, before) {
				t.Errorf("status has %v, want %v", got, before)
			}
		})
	}
}

// TestUpdateAnnotations: they are for agreements between a client and a runtime, of which there are none.
func TestUpdateAnnotations(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	r := update(c, &runtime.LinuxContainerResources{CpuShares: 512})
	r.Annotations = map[string]string{"example.com/limit": "7"}
	if _, err := c.runtime.UpdateContainerResources(deadline(t), r); err != nil {
		t.Fatal(err)
	}
	if s := c.status(); s.Resources.Linux.CpuShares != 512 || len(s.Annotations) != 0 {
		t.Errorf("%v", s)
	}
}
