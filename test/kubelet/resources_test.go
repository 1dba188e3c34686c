package kubelet

import "testing"

// TestOOM has a container use more memory than it may.
func TestOOM(t *testing.T) {
	t.Parallel()
	p := runPod(t, "oom", `
restartPolicy: Never
containers:
- name: greedy
  command: [tail, /dev/zero]
  resources: {limits: {memory: 24Mi}}
`)
	if end := p.terminated("greedy"); end.Reason != "OOMKilled" || end.ExitCode != 137 {
		t.Errorf("its end: %+v", end)
	}
}

// TestLimits are what the kernel has been told, and what the status says.
func TestLimits(t *testing.T) {
	t.Parallel()
	p := runPod(t, "limits", `
containers:
- name: c
  command: [sleep, "1000000"]
  resources: {limits: {memory: 48Mi, cpu: 500m}, requests: {cpu: 250m}}
`)
	p.ready()
	s := p.container("c")
	limits := s.Resources.Limits
	if s.Resources.Requests.Cpu().MilliValue() != 250 || limits.Cpu().MilliValue() != 500 || limits.Memory().Value() != 48<<20 {
		t.Errorf("the status says %+v", s.Resources)
	}
	if err := node.hasLimits(p.id("c"), "50331648", "50000"); err != nil {
		t.Error(err)
	}
}
