package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
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
	ofPod, ofContainer := p.measured()
	for _, tt := range []struct {
		path, container string // of the container, or of anything in the pod if it is ""
		names           []string
	}{
		{"/metrics/resource", "", []string{"pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes", "pod_swap_usage_bytes"}},
		{"/metrics/resource", "c", []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds", "container_swap_usage_bytes", "container_swap_limit_bytes"}},
		{"/metrics/cadvisor", "", append(ofPod, usual("network_receive_bytes_total", "network_transmit_bytes_total", "network_receive_errors_total",
			"network_receive_packets_dropped_total")...)},
		{"/metrics/cadvisor", "c", append(ofContainer, usual("cpu_usage_seconds_total", "cpu_user_seconds_total", "cpu_system_seconds_total",
			"memory_working_set_bytes", "memory_usage_bytes", "memory_rss", "memory_cache", "memory_failures_total", "fs_usage_bytes", "fs_limit_bytes",
			"oom_events_total", "processes", "threads", "file_descriptors", "sockets", "start_time_seconds", "last_seen",
			"spec_cpu_shares", "spec_cpu_period", "spec_memory_limit_bytes")...)},
	} {
		body, err := node.get(p.deadline(), tt.path)
		if err != nil {
			t.Error(err)
			continue
		}
		if tt.path == "/metrics/resource" && !strings.Contains(string(body), "\nresource_scrape_error 0\n") {
			t.Errorf("%s: not all was to be had", tt.path)
		}
		for _, name := range tt.names {
			if _, ok := p.sample(string(body), name, tt.container); !ok {
				t.Errorf("%s has no %s of the pod's container %q", tt.path, name, tt.container)
			}
		}
		t.Logf("%s: %d metrics of the pod's container %q", tt.path, len(tt.names), tt.container)
	}
}

// usual are names of metrics that dashboards ask for whatever the kernel.
func usual(names ...string) (all []string) {
	for _, name := range names {
		all = append(all, "container_"+name)
	}
	return all
}

// measured are the metrics that the runtime has of a pod and of its container, which depend on the kernel.
func (p *pod) measured() (ofPod, ofContainer []string) {
	p.t.Helper()
	all, err := node.runtime.ListPodSandboxMetrics(p.deadline(), &runtime.ListPodSandboxMetricsRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	id := p.id("c")
	for _, pod := range all.PodMetrics {
		i := slices.IndexFunc(pod.ContainerMetrics, func(c *runtime.ContainerMetrics) bool { return c.ContainerId == id })
		if i < 0 {
			continue
		}
		return metricNames(pod.Metrics), metricNames(pod.ContainerMetrics[i].Metrics)
	}
	p.t.Fatal("the runtime has no metrics of the pod")
	return nil, nil
}

func metricNames(all []*runtime.Metric) (names []string) {
	for _, m := range all {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sample is the value of a metric of a pod, and of its container unless that is "".
func (p *pod) sample(metrics, name, container string) (value string, ok bool) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `pod="`+p.name+`"`) && strings.Contains(line, `namespace="default"`) &&
			(container == "" || strings.Contains(line, `container="`+container+`"`)) {
			_, rest, _ := strings.Cut(line, "} ")
			value, _, _ = strings.Cut(strings.TrimSpace(rest), " ") // a time may follow
			return value, true
		}
	}
	return "", false
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
	if pressure && (s.CPU.PSI == nil || s.Memory.PSI == nil || s.IO == nil || s.IO.PSI == nil || c.CPU.PSI == nil || c.Memory.PSI == nil || c.IO == nil || c.IO.PSI == nil) {
		faults = append(faults, errors.New("no pressure"))
	}
	return faults
}

// pressure is what cgroup v2 tells of how long tasks had to wait, unless the kernel was told not to.
var pressure = func() bool {
	_, host := os.Stat("/proc/pressure/cpu")
	_, v1 := os.Stat("/sys/fs/cgroup/memory")
	return host == nil && v1 != nil
}()
