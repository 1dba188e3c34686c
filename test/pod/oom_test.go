package pod

import (
	"sync"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// little is a memory limit that tail /dev/zero soon runs into.
var little = resources(&runtime.LinuxContainerResources{MemoryLimitInBytes: 16 << 20, MemorySwapLimitInBytes: 16 << 20})

// TestOOMVerdicts: who was killed for want of memory is OOMKilled, and nobody else.
func TestOOMVerdicts(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	const (
		wait   = "trap 'exit 0' TERM; sleep 1000000 & wait"
		ignore = "trap '' TERM; while :; do sleep 1000000; done"
		child  = "tail /dev/zero; echo survived; "
	)
	kill := func(c *ctr) { _ = syscall.Kill(c.pid(), syscall.SIGKILL) } // seen by the status
	for _, tt := range []struct {
		name   string
		script string
		says   string     // waited for before end
		end    func(*ctr) // nil: it ends by itself
		code   int32
		reason string
	}{
		{"first process", "exec tail /dev/zero", "", nil, 137, "OOMKilled"},
		{"command whose end the shell passes on", "true; tail /dev/zero", "", nil, 137, "OOMKilled"},
		{"child, ends well", child + "exit 0", "", nil, 0, "Completed"},
		{"child, ends badly", child + "exit 9", "", nil, 9, "Error"},
		{"child, is stopped", child + wait, "survived", func(c *ctr) { c.stop(10) }, 0, "Completed"},
		{"child, is stopped by force", child + ignore, "survived", func(c *ctr) { c.stop(0) }, 137, "Error"},
		{"child, does not stop in time", child + ignore, "survived", func(c *ctr) { c.stop(1) }, 137, "Error"},
		{"child, then itself", "tail /dev/zero; exec tail /dev/zero", "", nil, 137, "OOMKilled"},
		{"killed by an operator", "echo ready; " + ignore, "ready", kill, 137, "Error"},
		{"stopped by force", "echo ready; " + ignore, "ready", func(c *ctr) { c.stop(0) }, 137, "Error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := p.start(script(tt.script), little)
			if tt.says != "" {
				c.says(tt.says)
			}
			if tt.end != nil {
				tt.end(c)
			}
			if s := c.finish(); s.ExitCode != tt.code || s.Reason != tt.reason {
				t.Errorf("exit code %d, reason %q, want %d, %q", s.ExitCode, s.Reason, tt.code, tt.reason)
			}
		})
	}
}

// TestOOMMany has many containers run out of memory at once, again and again.
func TestOOMMany(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	const rounds, each = 4, 10
	for range rounds {
		var wg sync.WaitGroup
		var all []*ctr
		for range each {
			all = append(all, p.create(command("tail", "/dev/zero"), little))
		}
		for _, c := range all {
			wg.Go(func() {
				if err := c.tryStart(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, c := range all {
			if s := c.finish(); s.ExitCode != 137 || s.Reason != "OOMKilled" {
				t.Errorf("exit code %d, reason %q", s.ExitCode, s.Reason)
			}
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestOOMInCgroupBelow: the kernel counts a kill in a cgroup that the container made for itself as
// the container's. Needs a container that may make one: v1's files are not shown in it.
func TestOOMInCgroupBelow(t *testing.T) {
	if !onV2() {
		t.Skip("containers see no cgroup files on v1")
	}
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	s, out := p.output(little, secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }),
		script("mkdir /sys/fs/cgroup/below && echo $$ > /sys/fs/cgroup/below/cgroup.procs && exec tail /dev/zero"))
	if s.ExitCode != 137 || s.Reason != "OOMKilled" {
		t.Errorf("exit code %d, reason %q, output %q", s.ExitCode, s.Reason, out)
	}
}
