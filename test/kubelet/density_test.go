package kubelet

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHundredPods has the node full. What the daemon uses then is printed; the kubelet has to be
// well all the time.
func TestHundredPods(t *testing.T) {
	const count = 100
	began := time.Now()
	var all []*pod
	for i := range count {
		all = append(all, runPod(t, fmt.Sprintf("many-%d", i), "containers: [{name: c, command: [sleep, '1000000']}]"))
	}
	t.Cleanup(func() { // all at once, before each is waited for
		for _, p := range all {
			_ = os.Remove(p.file)
		}
	})
	if err := until("all pods are ready", func() error { return allReady(all) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods are ready after %.1f s", count, time.Since(began).Seconds())

	const window = 20 * time.Second
	before := nodeUsage(t)
	for end := time.Now().Add(window); time.Now().Before(end); time.Sleep(time.Second) {
		if _, err := node.get(all[0].deadline(), "/healthz"); err != nil {
			t.Error(err)
		}
	}
	after := nodeUsage(t)
	relists, spent := after.relists-before.relists, after.relisting-before.relisting
	t.Logf("in %s: %s of CPU time in the daemon, %.0f relists of %.1f ms each", window, after.cpu-before.cpu, relists, 1000*spent/relists)
	if relists < window.Seconds()/4 || spent/relists > 1 {
		t.Error("the kubelet's look at the runtime takes too long")
	}
}

// allReady is an error as long as a pod is not.
func allReady(all []*pod) error {
	pods, err := node.pods()
	if err != nil {
		return err
	}
	ready := 0
	for _, p := range all {
		if pods[p.name] != nil && isReady(pods[p.name]) {
			ready++
		}
	}
	if ready < len(all) {
		return fmt.Errorf("%d are", ready)
	}
	return nil
}

// usage is what daemon and kubelet have spent until now.
type usage struct {
	cpu       time.Duration // of the daemon
	relists   float64
	relisting float64 // seconds
}

func nodeUsage(t *testing.T) usage {
	t.Helper()
	return usage{node.daemon.cpu(t), node.metric(t, "kubelet_pleg_relist_duration_seconds_count"), node.metric(t, "kubelet_pleg_relist_duration_seconds_sum")}
}

// cpu is the time a process has used, proc_pid_stat(5); ticks are hundredths of a second.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
