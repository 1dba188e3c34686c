package pod

import (
	"fmt"
	"slices"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNoProcessPerPod: the only processes beyond the daemon, the keeper and its guard are the containers' own. Those in passing,
// which make the next pod's namespaces, end by themselves.
func TestNoProcessPerPod(t *testing.T) {
	const pods = 20
	leavesNothing(t, suite.shared)
	before := processes()
	var own []int
	for range pods {
		c := suite.shared.runPod(t).start(command("sleep", "1000000"))
		own = append(own, c.pid())
	}
	await(t, "no process but the containers' own", func() error {
		for _, pid := range processes() {
			if !slices.Contains(own, pid) && !slices.Contains(before, pid) {
				return fmt.Errorf("process %d, %q, is nobody's", pid, cmdline(pid))
			}
		}
		return nil
	})
	children := slices.Sorted(slices.Values(append(own, suite.shared.guardPID(t))))
	await(t, "no children of the keeper but containers and guard", func() error {
		if got := childrenOf(suite.shared.keeperPID()); !slices.Equal(got, children) {
			return fmt.Errorf("they are %v, containers and guard %v", got, children)
		}
		return nil
	})
}

// TestNothingLeft stops and removes pods of every kind in every order; leavesNothing judges.
func TestNothingLeft(t *testing.T) {
	kinds := map[string][]podOption{
		"plain":        nil,
		"user":         {inUserNS},
		"shared pids":  {podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })},
		"node network": {podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }), func(c *runtime.PodSandboxConfig) { c.Hostname = "" }},
		"host port": {func(c *runtime.PodSandboxConfig) {
			c.PortMappings = []*runtime.PortMapping{{HostPort: 18080, ContainerPort: 80}}
		}},
		"parent": {func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = cgroupParent("parent") }},
	}
	for name, options := range kinds {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, suite.shared)
			p := suite.shared.runPod(t, options...)
			p.create()
			p.start(sleeper)
			forks := p.start(script("sleep 1000000 & sleep 1000000 & wait"))
			p.start(script("exit 3")).finish()
			failed := p.create(command("/no/such/program"))
			if err := failed.tryStart(); err == nil {
				t.Error("a program that is not there was started")
			}
			forks.stop(0)
			removed := p.start(sleeper)
			if err := removed.tryRemove(); err != nil {
				t.Error(err)
			}
			for range 2 {
				if _, err := p.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
					t.Error(err)
				}
			}
			if s := p.status(); s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
				t.Errorf("a stopped pod is %s", s.State)
			}
			p.remove()
		})
	}
}
