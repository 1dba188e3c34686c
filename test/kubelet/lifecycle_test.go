package kubelet

import "testing"

func TestOnePod(t *testing.T) {
	p := runPod(t, "one", `
containers:
- name: c
  command: [sh, -c, echo hello; sleep 1000000]
`)
	p.ready()
}
