package pod

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// metricRow says what a metric of a container has to be, by another reading. Without one it need not
// be there: the host may not measure it.
type metricRow struct {
	name  string
	label string // value of the label behind the common ones; "": any
	want  func(h *hostView) uint64
	slack uint64
}

// hostView reads of a container what the kernel shows anybody.
type hostView struct {
	*ctr
	status *runtime.ContainerStatus
	files  syscall.Statfs_t // of the filesystem of writable layers
}

// number reads a file of the container's cgroup; "max" and v1's largest are 0.
func (h *hostView) number(controller, v1, v2 string) uint64 {
	text := h.limit(controller, v1, v2)
	n, err := strconv.ParseUint(text, 10, 64)
	if text == "max" || text == noLimit {
		return 0
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// stat reads a line of a file with lines of a key and a number.
func (h *hostView) stat(controller, file, v1, v2 string) uint64 {
	key := v1
	if onV2() {
		key = v2
	}
	for line := range strings.Lines(h.limit(controller, file, file)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				h.t.Fatal(err)
			}
			return n
		}
	}
	h.t.Fatalf("no %s in %s", key, file)
	return 0
}

func (h *hostView) memory(v1, v2 string) uint64 { return h.stat("memory", "memory.stat", v1, v2) }

// usage is the processor's time in seconds.
func (h *hostView) usage() uint64 {
	if onV2() {
		return h.stat("cpu", "cpu.stat", "", "usage_usec") / 1e6
	}
	return h.number("cpuacct", "cpuacct.usage", "") / 1e9
}

// link reads a counter of eth0 from the container's /proc/net/dev: eight of what came, eight of what went.
func (h *hostView) link(field int) uint64 {
	data, err := os.ReadFile(procPath(h.pid(), "net/dev"))
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if name, counters, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "eth0" {
			n, err := strconv.ParseUint(strings.Fields(counters)[field], 10, 64)
			if err != nil {
				h.t.Fatal(err)
			}
			return n
		}
	}
	h.t.Fatalf("no eth0 in %s", data)
	return 0
}

func (h *hostView) processes() []int { return append(childrenOf(h.pid()), h.pid()) }

// count sums over the container's processes.
func (h *hostView) count(f func(pid int) int) (n uint64) {
	for _, pid := range h.processes() {
		n += uint64(f(pid))
	}
	return n
}

func openFiles(pid int) int {
	entries, _ := os.ReadDir(procPath(pid, "fd")) // none of what has ended
	return len(entries)
}

func constant(n uint64) func(*hostView) uint64 { return func(*hostView) uint64 { return n } }

const mib = 1 << 20

var metricRows = []metricRow{
	{"blkio_device_usage_total", "", nil, 0},
	{"cpu_cfs_periods_total", "", func(h *hostView) uint64 { return h.stat("cpu", "cpu.stat", "nr_periods", "nr_periods") }, 5},
	{"cpu_cfs_throttled_periods_total", "", func(h *hostView) uint64 { return h.stat("cpu", "cpu.stat", "nr_throttled", "nr_throttled") }, 5},
	{"cpu_cfs_throttled_seconds_total", "", constant(0), 1},
	{"cpu_system_seconds_total", "", constant(0), 1},
	{"cpu_usage_seconds_total", "total", (*hostView).usage, 1},
	{"cpu_user_seconds_total", "", constant(0), 1},
	{"file_descriptors", "", func(h *hostView) uint64 { return h.count(openFiles) }, 0},
	{"fs_inodes_free", "", func(h *hostView) uint64 { return h.files.Ffree }, 10000},
	{"fs_inodes_total", "", func(h *hostView) uint64 { return h.files.Files }, 0},
	{"fs_limit_bytes", "", func(h *hostView) uint64 { return h.files.Blocks * uint64(h.files.Bsize) }, 0},
	{"fs_reads_bytes_total", "", nil, 0},
	{"fs_reads_total", "", nil, 0},
	{"fs_usage_bytes", "", constant(3 * mib), mib},
	{"fs_writes_bytes_total", "", nil, 0},
	{"fs_writes_total", "", nil, 0},
	{"hugetlb_max_usage_bytes", "", nil, 0},
	{"hugetlb_usage_bytes", "", nil, 0},
	{"last_seen", "", func(*hostView) uint64 { return uint64(time.Now().Unix()) }, 5},
	{"memory_cache", "", func(h *hostView) uint64 { return h.memory("total_cache", "file") }, mib},
	{"memory_failcnt", "", constant(0), 0},
	{"memory_failures_total", "pgfault", func(h *hostView) uint64 { return h.memory("pgfault", "pgfault") }, 500},
	{"memory_kernel_usage", "", func(h *hostView) uint64 {
		if onV2() {
			return h.memory("", "kernel")
		}
		return h.number("memory", "memory.kmem.usage_in_bytes", "")
	}, mib},
	{"memory_mapped_file", "", func(h *hostView) uint64 { return h.memory("total_mapped_file", "file_mapped") }, mib},
	{"memory_max_usage_bytes", "", func(h *hostView) uint64 { return h.number("memory", "memory.max_usage_in_bytes", "memory.peak") }, mib},
	{"memory_rss", "", func(h *hostView) uint64 { return h.memory("total_rss", "anon") }, mib},
	{"memory_swap", "", constant(0), 0},
	{"memory_usage_bytes", "", func(h *hostView) uint64 { return h.number("memory", "memory.usage_in_bytes", "memory.current") }, mib},
	{"memory_working_set_bytes", "", func(h *hostView) uint64 {
		used := h.number("memory", "memory.usage_in_bytes", "memory.current")
		return used - min(used, h.memory("total_inactive_file", "inactive_file"))
	}, mib},
	{"network_receive_bytes_total", "eth0", func(h *hostView) uint64 { return h.link(0) }, 2000},
	{"network_receive_errors_total", "eth0", func(h *hostView) uint64 { return h.link(2) }, 0},
	{"network_receive_packets_dropped_total", "eth0", func(h *hostView) uint64 { return h.link(3) }, 5},
	{"network_receive_packets_total", "eth0", func(h *hostView) uint64 { return h.link(1) }, 20},
	{"network_transmit_bytes_total", "eth0", func(h *hostView) uint64 { return h.link(8) }, 2000},
	{"network_transmit_errors_total", "eth0", func(h *hostView) uint64 { return h.link(10) }, 0},
	{"network_transmit_packets_dropped_total", "eth0", func(h *hostView) uint64 { return h.link(11) }, 5},
	{"network_transmit_packets_total", "eth0", func(h *hostView) uint64 { return h.link(9) }, 20},
	{"oom_events_total", "", constant(0), 0},
	{"pressure_cpu_stalled_seconds_total", "", nil, 0},
	{"pressure_cpu_waiting_seconds_total", "", nil, 0},
	{"pressure_io_stalled_seconds_total", "", nil, 0},
	{"pressure_io_waiting_seconds_total", "", nil, 0},
	{"pressure_memory_stalled_seconds_total", "", nil, 0},
	{"pressure_memory_waiting_seconds_total", "", nil, 0},
	{"processes", "", func(h *hostView) uint64 { return uint64(len(h.processes())) }, 0},
	{"sockets", "", constant(0), 0},
	{"spec_cpu_period", "", constant(50000), 0},
	{"spec_cpu_quota", "", constant(40000), 0},
	{"spec_cpu_shares", "", constant(512), 0},
	{"spec_memory_limit_bytes", "", constant(64 * mib), 0},
	{"spec_memory_reservation_limit_bytes", "", constant(0), 0},
	{"spec_memory_swap_limit_bytes", "", constant(96 * mib), 0},
	{"start_time_seconds", "", func(h *hostView) uint64 { return uint64(h.status.StartedAt / 1e9) }, 0},
	{"threads", "", func(h *hostView) uint64 { return h.number("pids", "pids.current", "pids.current") }, 0},
	{"threads_max", "", func(h *hostView) uint64 { return h.number("pids", "pids.max", "pids.max") }, 0},
	{"ulimits_soft", "max_open_files", func(h *hostView) uint64 {
		n, _ := strconv.Atoi(strings.Fields(h.exec("grep 'Max open files' /proc/1/limits"))[3])
		return uint64(n)
	}, 0},
}

// readMetrics returns a pod's metrics, its own and those of its one container, by name and last label.
func readMetrics(t *testing.T, p *pod) map[string][]*runtime.Metric {
	t.Helper()
	resp, err := p.runtime.ListPodSandboxMetrics(deadline(t), &runtime.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range resp.PodMetrics {
		if m.PodSandboxId != p.id {
			continue
		}
		out := map[string][]*runtime.Metric{}
		all := m.ContainerMetrics[0].Metrics
		for _, own := range m.Metrics {
			if strings.HasPrefix(own.Name, "container_network_") {
				all = append(all, own)
			}
		}
		for _, m := range all {
			out[m.Name] = append(out[m.Name], m)
		}
		return out
	}
	t.Fatalf("no metrics of the pod in %v", resp)
	return nil
}

// TestMetrics holds every metric to its descriptor and to another reading.
func TestMetrics(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inCgroup(cgroupParent("metricspod")))
	c := p.start(sleeper, resources(&runtime.LinuxContainerResources{
		CpuShares: 512, CpuQuota: 40000, CpuPeriod: 50000, MemoryLimitInBytes: 64 * mib, MemorySwapLimitInBytes: 96 * mib,
	}))
	c.exec("dd if=/dev/zero of=/f bs=1M count=3 2>&1; sync; ping -c 3 -i 0.01 $(ip route | cut -d' ' -f3 | head -n 1) || true")
	h := &hostView{ctr: c, status: c.status()}
	if err := syscall.Statfs(p.path("root"), &h.files); err != nil {
		t.Fatal(err)
	}
	descriptors := describe(t, p)
	var wrong []string
	// Counts made behind the answers and v1's memory.stat come late.
	await(t, "metrics are as they are read elsewhere", func() error {
		got := readMetrics(t, p)
		if wrong = nil; len(got) == 0 {
			return fmt.Errorf("no metrics")
		}
		for _, row := range metricRows {
			if err := h.compare(row, got["container_"+row.name]); err != nil {
				wrong = append(wrong, row.name+": "+err.Error())
			}
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%s", strings.Join(wrong, "\n"))
		}
		return nil
	})
	common := map[string]string{"container": c.config.Metadata.Name, "id": h.cgroup(), "image": busybox, "name": c.id, "namespace": "default", "pod": "pod"}
	for name, values := range readMetrics(t, p) {
		for _, m := range values {
			checkLabels(t, name, m, descriptors[name], common)
		}
	}
	var named []string
	for _, row := range metricRows {
		named = append(named, "container_"+row.name)
	}
	if all := slices.Sorted(maps.Keys(descriptors)); len(named) != 56 || !slices.Equal(all, named) {
		t.Errorf("descriptors %q, the table has %q", all, named)
	}
}

func describe(t *testing.T, p *pod) map[string]*runtime.MetricDescriptor {
	t.Helper()
	resp, err := p.runtime.ListMetricDescriptors(deadline(t), &runtime.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*runtime.MetricDescriptor{}
	for _, d := range resp.Descriptors {
		out[d.Name] = d
	}
	return out
}

// compare looks at the value of a row among those of its metric.
func (h *hostView) compare(row metricRow, values []*runtime.Metric) error {
	if row.want == nil {
		return nil
	}
	for _, m := range values {
		if row.label != "" && !slices.Contains(m.LabelValues, row.label) {
			continue
		}
		if want := row.want(h); !within(m.Value.Value, want, row.slack) {
			return fmt.Errorf("%d, want %d", m.Value.Value, want)
		}
		return nil
	}
	return fmt.Errorf("no value with %q in %v", row.label, values)
}

// checkLabels compares a value's labels with what they stand for.
func checkLabels(t *testing.T, name string, m *runtime.Metric, d *runtime.MetricDescriptor, common map[string]string) {
	t.Helper()
	if d == nil || len(d.LabelKeys) != len(m.LabelValues) || m.Timestamp < 0 {
		t.Errorf("%v does not fit its descriptor %v", m, d)
		return
	}
	ofPod := strings.HasPrefix(name, "container_network_")
	for i, key := range d.LabelKeys {
		want, known := common[key]
		switch {
		case ofPod && (key == "container" || key == "image" || key == "name"):
			want = ""
		case ofPod && key == "id":
			want = filepath.Dir(want)
		}
		if known && m.LabelValues[i] != want {
			t.Errorf("%s: label %s is %q, want %q", name, key, m.LabelValues[i], want)
		}
		if !known && m.LabelValues[i] == "" {
			t.Errorf("%s: label %s is empty", name, key)
		}
	}
}

// TestMetricsOfPressure are there where the kernel measures it, and only there.
func TestMetricsOfPressure(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper)
	metrics, s, of := readMetrics(t, p), c.stats(), p.stats().Linux
	for _, row := range metricRows {
		if strings.HasPrefix(row.name, "pressure_") && (len(metrics["container_"+row.name]) == 1) != onV2() {
			t.Errorf("%s: %v", row.name, metrics["container_"+row.name])
		}
	}
	for name, psi := range map[string]*runtime.PsiStats{"cpu": s.Cpu.Psi, "memory": s.Memory.Psi, "io": s.Io.Psi} {
		if (psi != nil) != onV2() {
			t.Errorf("%s: %v", name, psi)
		}
	}
	if of.Io == nil || of.Cpu.Psi != nil || of.Memory.Psi != nil || of.Io.Psi != nil {
		t.Errorf("a pod without a cgroup of its own has pressure: %v", of)
	}
}
