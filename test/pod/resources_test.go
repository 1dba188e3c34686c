package pod

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func update(c *ctr, r *runtime.LinuxContainerResources) *runtime.UpdateContainerResourcesRequest {
	return &runtime.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: r}
}

// cgroup is the container's cgroup, below each hierarchy.
func (c *ctr) cgroup() string {
	c.t.Helper()
	resp, err := c.runtime.ContainerStatus(deadline(c.t), &runtime.ContainerStatusRequest{ContainerId: c.id, Verbose: true})
	if err != nil {
		c.t.Fatal(err)
	}
	var info struct{ CgroupPath string }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil {
		c.t.Fatal(err)
	}
	return info.CgroupPath
}

// limit reads a file of the container's cgroup, whichever version the host has.
func (c *ctr) limit(controller, v1, v2 string) string {
	c.t.Helper()
	path := filepath.Join("/sys/fs/cgroup", c.cgroup(), v2)
	if !onV2() {
		path = filepath.Join("/sys/fs/cgroup", controller, c.cgroup(), v1)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// TestUpdate changes limits of a running container and of one that is started afterwards.
func TestUpdate(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	limits := func(c *runtime.ContainerConfig) {
		c.Linux.Resources = &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512, CpuQuota: 20000, CpuPeriod: 50000, OomScoreAdj: 300}
	}
	running, created := p.start(sleeper, limits), p.create(sleeper, limits)
	for name, c := range map[string]*ctr{"running": running, "created": created} {
		for _, r := range []*runtime.LinuxContainerResources{
			{MemoryLimitInBytes: 128 << 20}, {CpuQuota: 30000}, {CpuShares: 1024, OomScoreAdj: 400}, {},
		} {
			if _, err := p.runtime.UpdateContainerResources(deadline(t), update(c, r)); err != nil {
				t.Fatalf("%s: %v: %v", name, r, err)
			}
		}
		got := c.status().Resources.Linux
		if got.MemoryLimitInBytes != 128<<20 || got.CpuQuota != 30000 || got.CpuPeriod != 50000 || got.CpuShares != 1024 || got.OomScoreAdj != 400 {
			t.Errorf("%s: status has %v", name, got)
		}
	}
	if err := created.tryStart(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*ctr{"running": running, "created": created} {
		if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != "134217728" {
			t.Errorf("%s: memory limit %s", name, got)
		}
		if got := c.limit("cpu", "cpu.cfs_quota_us", "cpu.max"); got != "30000" && got != "30000 50000" {
			t.Errorf("%s: quota %s", name, got)
		}
		if got := c.limit("cpu", "cpu.shares", "cpu.weight"); got != "1024" && got != "100" {
			t.Errorf("%s: shares %s", name, got)
		}
		for _, pid := range append(childrenOf(c.pid()), c.pid()) {
			if score, err := os.ReadFile(procPath(pid, "oom_score_adj")); err != nil || strings.TrimSpace(string(score)) != "400" {
				t.Errorf("%s: oom_score_adj of %d is %s, %v", name, pid, score, err)
			}
		}
	}
	unlimited := &runtime.LinuxContainerResources{MemoryLimitInBytes: -1, CpuQuota: -1}
	if _, err := p.runtime.UpdateContainerResources(deadline(t), update(running, unlimited)); err != nil {
		t.Fatal(err)
	}
	if got := running.limit("cpu", "cpu.cfs_quota_us", "cpu.max"); got != "-1" && got != "max 50000" {
		t.Errorf("quota %s after it was lifted", got)
	}
	if got := running.limit("memory", "memory.limit_in_bytes", "memory.max"); got != "9223372036854771712" && got != "max" {
		t.Errorf("memory limit %s after it was lifted", got)
	}
}

func TestUpdatePod(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	r := &runtime.UpdatePodSandboxResourcesRequest{PodSandboxId: p.id, Resources: &runtime.LinuxContainerResources{CpuShares: 77}}
	if _, err := p.runtime.UpdatePodSandboxResources(deadline(t), r); err != nil {
		t.Fatal(err)
	}
	resp, err := p.runtime.PodSandboxStatus(deadline(t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil || !strings.Contains(resp.Info["info"], `"CPUShares":77`) {
		t.Errorf("%v, %v", resp.GetInfo(), err)
	}
}

func TestUpdateRefusals(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper)
	exited := p.start(script("exit 0"))
	exited.finish()
	for name, tt := range map[string]struct {
		r    *runtime.UpdateContainerResourcesRequest
		code codes.Code
	}{
		"no such container":          {&runtime.UpdateContainerResourcesRequest{ContainerId: "x", Linux: &runtime.LinuxContainerResources{}}, codes.NotFound},
		"nothing":                    {&runtime.UpdateContainerResourcesRequest{ContainerId: c.id}, codes.InvalidArgument},
		"windows":                    {&runtime.UpdateContainerResourcesRequest{ContainerId: c.id, Windows: &runtime.WindowsContainerResources{}}, codes.InvalidArgument},
		"bad value":                  {update(c, &runtime.LinuxContainerResources{CpuShares: 1}), codes.InvalidArgument},
		"swap below memory":          {update(c, &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 32 << 20}), codes.InvalidArgument},
		"not on this host's cgroups": {update(c, &runtime.LinuxContainerResources{CpuShares: 77, Unified: map[string]string{"memory.nothing": "1"}}), codes.Unknown}, // InvalidArgument on v1, FailedPrecondition on v2
		"no such CPU":                {update(c, &runtime.LinuxContainerResources{CpusetCpus: "4000", CpuShares: 77}), codes.InvalidArgument},
		"exited":                     {update(exited, &runtime.LinuxContainerResources{CpuShares: 77}), codes.FailedPrecondition},
		"below usage":                {update(c, &runtime.LinuxContainerResources{MemoryLimitInBytes: 4096, CpuShares: 77}), codes.FailedPrecondition},
	} {
		_, err := p.runtime.UpdateContainerResources(deadline(t), tt.r)
		if status.Code(err) != tt.code && (tt.code != codes.Unknown || err == nil) {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	if r := c.status().Resources.Linux; r.CpuShares != 0 || r.MemoryLimitInBytes != 0 {
		t.Errorf("after refusals: %v", r)
	}
	if got := c.limit("cpu", "cpu.shares", "cpu.weight"); got != "1024" && got != "100" {
		t.Errorf("after refusals the kernel has %s shares", got)
	}
}
