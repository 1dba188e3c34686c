package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// TestStats has a pod in everything that reports what pods use.
func TestStats(t *testing.T) {
	t.Parallel()
	p := runPod(t, "stats", `
volumes: [{name: disk, emptyDir: {}}]
containers:
- name: c
  command: [sh, -c, "head -c 3000000 /dev/zero > /disk/file; head -c 2000000 /dev/zero > /file; while :; do echo busy; done"]
  volumeMounts: [{name: disk, mountPath: /disk}]
  resources: {limits: {memory: 64Mi}}
`)
	p.ready()
	if err := until("the summary is complete", p.summarized); err != nil {
		t.Error(err)
	}
	for path, names := range map[string][]string{
		"/metrics/resource": {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds",
			"pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes"},
		"/metrics/cadvisor": {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_rss", "container_processes",
			"container_network_receive_bytes_total", "container_network_transmit_packets_total", "container_fs_usage_bytes",
			"container_spec_memory_limit_bytes", "container_start_time_seconds", "container_oom_events_total", "container_threads"},
	} {
		body, err := node.get(p.deadline(), path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range names {
			if !labelled(string(body), name, p.name) {
				t.Errorf("%s has no %s of the pod", path, name)
			}
		}
	}
}

// labelled tells whether there is a metric of a pod.
func labelled(metrics, name, pod string) bool {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `pod="`+pod+`"`) && strings.Contains(line, `namespace="default"`) {
			return true
		}
	}
	return false
}

// summarized tells what is missing of a pod in the kubelet's summary.
func (p *pod) summarized() error {
	body, err := node.get(p.deadline(), "/stats/summary")
	if err != nil {
		return err
	}
	var all stats.Summary
	if err := json.Unmarshal(body, &all); err != nil {
		return err
	}
	for _, s := range all.Pods {
		if s.PodRef.Name == p.name {
			return errors.Join(podFaults(s)...)
		}
	}
	return errors.New("the pod is missing")
}

// podFaults lists what of a pod's usage is missing or cannot be.
func podFaults(s stats.PodStats) (faults []error) {
	above := func(what string, value *uint64, least uint64) {
		switch {
		case value == nil:
			faults = append(faults, fmt.Errorf("no %s", what))
		case *value < least:
			faults = append(faults, fmt.Errorf("%s is %d", what, *value))
		}
	}
	if s.CPU == nil || s.Memory == nil || s.Network == nil || s.EphemeralStorage == nil || s.ProcessStats == nil || len(s.VolumeStats) != 1 || len(s.Containers) != 1 {
		return []error{fmt.Errorf("parts are missing: %+v", s)}
	}
	c := s.Containers[0]
	if c.CPU == nil || c.Memory == nil || c.Rootfs == nil || c.Logs == nil {
		return []error{fmt.Errorf("parts of the container are missing: %+v", c)}
	}
	above("cpu time", s.CPU.UsageCoreNanoSeconds, 1e6)
	above("cpu rate", s.CPU.UsageNanoCores, 1e6)
	above("memory", s.Memory.WorkingSetBytes, 1e5)
	above("received bytes", s.Network.RxBytes, 0)
	above("processes", s.ProcessStats.ProcessCount, 1)
	above("ephemeral storage", s.EphemeralStorage.UsedBytes, 5000000)
	above("volume", s.VolumeStats[0].UsedBytes, 3000000)
	above("container's cpu time", c.CPU.UsageCoreNanoSeconds, 1e6)
	above("container's cpu rate", c.CPU.UsageNanoCores, 1e6)
	above("container's memory", c.Memory.WorkingSetBytes, 1e5)
	above("container's available memory", c.Memory.AvailableBytes, 1)
	above("container's root file system", c.Rootfs.UsedBytes, 2000000)
	above("container's log", c.Logs.UsedBytes, 100)
	return faults
}
