package kubelet

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// TestResize has a pod's file ask for other limits, which its containers get without being restarted,
// unless they are to be.
func TestResize(t *testing.T) {
	t.Parallel()
	spec := func(cpu, memory string) string {
		resources := fmt.Sprintf("{requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: %s, memory: %s}}", cpu, memory)
		return `
containers:
- {name: stays, command: [sleep, "1000000"], resources: ` + resources + `}
- name: restarts
  command: [sleep, "1000000"]
  resources: ` + resources + `
  resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
`
	}
	p := newPod(t, "resize", "00000000-7a7e-4000-8000-000000000001", spec("500m", "48Mi"))
	p.ready()
	before := p.container("stays")
	for _, size := range []struct{ cpu, memory, quota, bytes string }{
		{"750m", "64Mi", "75000", "67108864"},
		{"300m", "40Mi", "30000", "41943040"},
	} {
		p.write(spec(size.cpu, size.memory))
		for _, name := range []string{"stays", "restarts"} {
			p.awaitContainer(name, "has its new limits", func(s v1.ContainerStatus) error { return hasLimits(s, size.cpu, size.memory) })
			if err := node.hasLimits(p.id(name), size.bytes, size.quota); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if s := p.container("stays"); s.ContainerID != before.ContainerID || s.RestartCount != 0 {
		t.Errorf("it was restarted: %+v", s)
	}
	if s := p.container("restarts"); s.RestartCount != 2 {
		t.Errorf("%d restarts, want one for each size of memory", s.RestartCount)
	}
}

// hasLimits is an error as long as a running container's status says others.
func hasLimits(s v1.ContainerStatus, cpu, memory string) error {
	if s.State.Running == nil || s.Resources == nil {
		return errNotYet
	}
	if has := s.Resources.Limits; has.Cpu().String() != cpu || has.Memory().String() != memory {
		return fmt.Errorf("the status says %s and %s", has.Cpu(), has.Memory())
	}
	return nil
}
