package pod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestCgroupsShown looks for the container's own cgroup where programs look for it.
func TestCgroupsShown(t *testing.T) {
	limited := func(c *runtime.ContainerConfig) {
		c.Linux.Resources = &runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512}
	}
	file := "memory/memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		file = "memory.max"
	}
	for name, tt := range map[string]struct {
		handler string
		options []podOption
	}{
		"plain": {}, "user namespace": {options: []podOption{inUserNS}}, "isolated": {isolated, []podOption{inUserNS}},
		"shared pids": {options: []podOption{onePIDs}},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, suite.shared)
			p := suite.shared.runPodBy(t, tt.handler, tt.options...)
			c := p.start(sleeper, limited)
			if got := c.exec("cat /sys/fs/cgroup/" + file); got != "67108864\n" {
				t.Errorf("%s says %q", file, got)
			}
			if file == "memory.max" {
				return
			}
			checkV1(t, c)
		})
	}
	t.Run("privileged", func(t *testing.T) {
		leavesNothing(t, suite.shared)
		p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
		c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }))
		c.exec("f=$(find /sys/fs/cgroup/ -name cgroup.procs | head -1) && cat $f > /dev/null && mkdir ${f%/*}/mine && rmdir ${f%/*}/mine")
	})
}

// checkV1 compares what the container sees with the host's hierarchies.
func checkV1(t *testing.T, c *ctr) {
	t.Helper()
	mounts, err := filepath.Glob("/sys/fs/cgroup/*/tasks")
	if err != nil || len(mounts) == 0 {
		t.Fatalf("no hierarchies on the host: %v", err)
	}
	for _, tasks := range mounts {
		name := filepath.Base(filepath.Dir(tasks))
		if name == "systemd" {
			continue // joined only where systemd runs
		}
		if got := c.exec("grep ' /sys/fs/cgroup/" + name + " ' /proc/self/mountinfo | cut -d' ' -f4,6"); !strings.HasPrefix(got, "/ ro,nosuid,nodev,noexec") {
			t.Errorf("%s is mounted %q", name, got)
		}
	}
	if got := c.exec("touch /sys/fs/cgroup/x 2>&1; mkdir /sys/fs/cgroup/memory/x 2>&1; true"); strings.Count(got, "Read-only file system") != 2 {
		t.Errorf("cgroups can be written: %q", got)
	}
}
