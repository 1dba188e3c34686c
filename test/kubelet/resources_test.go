package kubelet

import (
	"fmt"
	"strconv"
	"testing"
)

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

// TestThrottled has a container want more CPU than it may have: it gets what it may, and the kubelet's metrics, in whole seconds as
// the CRI has them, tell how long it had to wait.
func TestThrottled(t *testing.T) {
	t.Parallel()
	p := runPod(t, "throttled", `
containers:
- name: busy
  command: [sh, -c, "while :; do :; done"]
  resources: {limits: {cpu: 200m}}
`)
	p.ready()
	value := func(metrics []byte, name string) float64 {
		text, _ := p.sample(string(metrics), name, "busy")
		n, _ := strconv.ParseFloat(text, 64) // 0 as long as there is none
		return n
	}
	err := until("it is throttled", func() error {
		metrics, err := node.get(p.deadline(), "/metrics/cadvisor")
		if err != nil {
			return err
		}
		periods, throttled := value(metrics, "container_cpu_cfs_periods_total"), value(metrics, "container_cpu_cfs_throttled_periods_total")
		used, waited := value(metrics, "container_cpu_usage_seconds_total"), value(metrics, "container_cpu_cfs_throttled_seconds_total")
		if used < 1 || waited < 1 || throttled == 0 {
			return fmt.Errorf("in %.0f of %.0f periods, it used %.0f s and waited for %.0f", throttled, periods, used, waited)
		}
		// A period is 100 ms. What was begun with in one may be finished, a few milliseconds on each CPU.
		if most := periods * 0.1 * 0.2 * 1.5; used > most {
			return finalError{fmt.Errorf("in %.0f periods it used %.0f s of at most %.1f", periods, used, most)}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
