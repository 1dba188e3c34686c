package cri

import (
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/cgroup"
	"tare/spec"
	"tare/stats"
	"tare/store"
)

// expectedMetrics are the names critest expects of a runtime for Kubernetes 1.37.
const expectedMetrics = `
container_blkio_device_usage_total
container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total container_cpu_cfs_throttled_seconds_total
container_cpu_system_seconds_total container_cpu_usage_seconds_total container_cpu_user_seconds_total
container_file_descriptors
container_fs_inodes_free container_fs_inodes_total container_fs_limit_bytes container_fs_reads_bytes_total container_fs_reads_total
container_fs_usage_bytes container_fs_writes_bytes_total container_fs_writes_total
container_hugetlb_max_usage_bytes container_hugetlb_usage_bytes
container_last_seen
container_memory_cache container_memory_failcnt container_memory_failures_total container_memory_kernel_usage container_memory_mapped_file
container_memory_max_usage_bytes container_memory_rss container_memory_swap container_memory_usage_bytes container_memory_working_set_bytes
container_network_receive_bytes_total container_network_receive_errors_total container_network_receive_packets_dropped_total
container_network_receive_packets_total container_network_transmit_bytes_total container_network_transmit_errors_total
container_network_transmit_packets_dropped_total container_network_transmit_packets_total
container_oom_events_total
container_pressure_cpu_stalled_seconds_total container_pressure_cpu_waiting_seconds_total container_pressure_io_stalled_seconds_total
container_pressure_io_waiting_seconds_total container_pressure_memory_stalled_seconds_total container_pressure_memory_waiting_seconds_total
container_processes
container_sockets
container_spec_cpu_period container_spec_cpu_quota container_spec_cpu_shares container_spec_memory_limit_bytes
container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes
container_start_time_seconds
container_threads container_threads_max
container_ulimits_soft`

func descriptors(t *testing.T) map[string]*runtime.MetricDescriptor {
	t.Helper()
	resp, err := New(Deps{}).ListMetricDescriptors(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*runtime.MetricDescriptor{}
	for _, d := range resp.Descriptors {
		if out[d.Name] != nil || d.Help == "" {
			t.Errorf("%s is named twice or has no help", d.Name)
		}
		out[d.Name] = d
	}
	return out
}

func TestMetricDescriptors(t *testing.T) {
	want := strings.Fields(expectedMetrics)
	var got []string
	for name := range descriptors(t) {
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != 56 || !slices.Equal(got, want) {
		t.Errorf("%d descriptors, want %d:\n%q\n%q", len(got), len(want), got, want)
	}
}

// fullReading is a pod with one container of which everything can be measured.
func fullReading() *stats.Pod {
	p := &store.Pod{ID: "p", State: store.PodReady, CgroupPath: "/kubepods/pod1", Spec: spec.Pod{Name: "web-0", Namespace: "shop"}}
	c := &store.Container{ID: "c", CgroupPath: "/kubepods/pod1/c", ImageName: "nginx:1", StartedAt: time.Unix(1700000000, 0), Spec: spec.Container{
		Name: "nginx", Resources: &spec.Resources{CPUPeriod: 50000, CPUQuota: 25000, CPUShares: 512, Memory: 1 << 30, MemorySwap: 2 << 30, Unified: map[string]string{"memory.low": "4096"}},
	}}
	pressure := &cgroup.Pressure{Some: cgroup.Stall{Total: 9 * time.Second}, Full: cgroup.Stall{Total: 3500 * time.Millisecond}}
	usage := &cgroup.Usage{
		Time: time.Now(), Threads: 5, CPUPressure: pressure, MemoryPressure: pressure, IOPressure: pressure,
		CPU:    cgroup.CPUUsage{Total: 12900 * time.Millisecond, User: 8 * time.Second, System: 4 * time.Second},
		Memory: cgroup.MemoryUsage{Current: 1000, InactiveFile: 300, OwnMajorFaults: 7},
		Detail: &cgroup.Detail{
			Processes: []int{1, 2}, OOMKills: 1, Devices: []cgroup.DeviceIO{{Major: 8, Minor: 16, ReadBytes: 1, WriteBytes: 2}},
			Hugepages: []cgroup.HugepageUsage{{PageSize: "2MB", Current: 2 << 20}},
		},
	}
	devices := []stats.Device{{Name: "sdb", DeviceIO: usage.Detail.Devices[0]}}
	return &stats.Pod{
		Record: p, Time: usage.Time, Usage: usage, OwnCgroup: true, Devices: devices,
		Network: []stats.Interface{{Name: "lo", Rx: stats.Traffic{Bytes: 99}}, {Name: "eth0", Rx: stats.Traffic{Bytes: 42}}},
		Containers: []stats.Container{{
			Record: c, Usage: usage, Devices: devices, Descriptors: 6, Sockets: stats.Count{Time: usage.Time, N: 3}, OpenFiles: 1024,
			Layer: spec.FilesystemUsage{Time: usage.Time, Bytes: 4096},
		}},
	}
}

// TestMetricValues reads every metric, with labels as described.
func TestMetricValues(t *testing.T) {
	known := descriptors(t)
	out := wirePodMetrics(fullReading(), &stats.Filesystem{Device: "sda1", Bytes: 1 << 40})
	found := map[string]string{}
	var texts []string
	for _, m := range slices.Concat(out.Metrics, out.ContainerMetrics[0].Metrics) {
		d := known[m.Name]
		if d == nil || len(d.LabelKeys) != len(m.LabelValues) {
			t.Errorf("%v does not fit its descriptor %v", m, d)
			continue
		}
		found[m.Name] = m.Name
		var text strings.Builder
		text.WriteString(m.Name)
		for i, key := range d.LabelKeys {
			if m.LabelValues[i] != "" {
				text.WriteString(" " + key + "=" + m.LabelValues[i])
			}
		}
		texts = append(texts, text.String()+" "+m.Value.String())
	}
	for name := range known {
		if found[name] == "" {
			t.Errorf("%s has no value", name)
		}
	}
	const ctr = " container=nginx id=/kubepods/pod1/c image=nginx:1 name=c namespace=shop pod=web-0"
	const pod = " id=/kubepods/pod1 namespace=shop pod=web-0"
	for _, want := range []string{
		"container_cpu_usage_seconds_total" + ctr + " cpu=total value:12",
		"container_cpu_usage_seconds_total" + pod + " cpu=total value:12",
		"container_memory_working_set_bytes" + ctr + " value:700",
		"container_memory_failures_total" + ctr + " failure_type=pgmajfault scope=container value:7",
		"container_network_receive_bytes_total" + pod + " interface=eth0 value:42",
		"container_blkio_device_usage_total" + ctr + " device=/dev/sdb major=8 minor=16 operation=Write value:2",
		"container_pressure_io_stalled_seconds_total" + ctr + " value:3",
		"container_pressure_cpu_waiting_seconds_total" + ctr + " value:9",
		"container_fs_usage_bytes" + ctr + " device=/dev/sda1 value:4096",
		"container_spec_cpu_quota" + ctr + " value:25000",
		"container_spec_memory_reservation_limit_bytes" + ctr + " value:4096",
		"container_ulimits_soft" + ctr + " ulimit=max_open_files value:1024",
		"container_start_time_seconds" + ctr + " value:1700000000",
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(texts, "\n"))
		}
	}
	if slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, "interface=lo") }) {
		t.Error("the loopback counts as network")
	}
}

// TestStatsOnTheWire converts a reading in which everything is measured.
func TestStatsOnTheWire(t *testing.T) {
	p := fullReading()
	p.Usage.Memory.Limit, p.Usage.Memory.SwapLimit, p.Usage.Memory.Swap = 2000, 50, 20
	s := wirePodStats(*p)
	c := s.Linux.Containers[0]
	if s.Linux.Io.Psi.Full.Total != 3500000000 || c.Cpu.Psi.Some.Total != 9000000000 || c.Io.Timestamp <= 0 {
		t.Errorf("pressure: %v %v", s.Linux.Io, c.Cpu)
	}
	if c.Memory.AvailableBytes.Value != 1300 || c.Memory.WorkingSetBytes.Value != 700 || c.Swap.SwapAvailableBytes.Value != 30 {
		t.Errorf("memory: %v %v", c.Memory, c.Swap)
	}
	if n := s.Linux.Network; n.DefaultInterface.RxBytes.Value != 42 || len(n.Interfaces) != 1 || n.Interfaces[0].Name != "lo" {
		t.Errorf("network: %v", n)
	}
	p.Network = slices.DeleteFunc(p.Network, func(i stats.Interface) bool { return i.Name == defaultInterface })
	if n := wirePodStats(*p).Linux.Network; n != nil {
		t.Errorf("network of a pod that is not connected: %v", n)
	}
}
