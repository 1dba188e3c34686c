package cri

import (
	"slices"
	"strconv"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/cgroup"
	"tare/spec"
	"tare/stats"
)

// metric is one of the metrics that ListMetricDescriptors names. Names, labels and meanings are cAdvisor's, so that
// dashboards need not know who measured; values are whole numbers, as CRI has them.
type metric struct {
	name   string
	help   string
	kind   runtime.MetricType
	labels []string // beyond baseLabels
	read   func(m *measurement) []value
}

const (
	counter = runtime.MetricType_COUNTER
	gauge   = runtime.MetricType_GAUGE
)

// baseLabels are those of every metric; measurement.labels gives their values in the same order.
var baseLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

// value is one value of a metric.
type value struct {
	n      uint64
	labels []string  // for metric.labels, in their order
	at     time.Time // when it was counted; zero: just now
}

// measurement is a reading of a container or, if container is nil, of a pod.
type measurement struct {
	pod        *stats.Pod
	container  *stats.Container
	usage      *cgroup.Usage // with its Detail
	devices    []stats.Device
	filesystem *stats.Filesystem
	labels     []string
}

func containerMeasurement(p *stats.Pod, c *stats.Container, fs *stats.Filesystem) *measurement {
	r, pod := c.Record, &p.Record.Spec
	return &measurement{
		pod: p, container: c, usage: c.Usage, devices: c.Devices, filesystem: fs,
		labels: []string{r.Spec.Name, r.CgroupPath, wireContainerImage(r).Image, string(r.ID), pod.Namespace, pod.Name},
	}
}

// podMeasurement is that of what belongs to the pod and to no container.
func podMeasurement(p *stats.Pod) *measurement {
	pod := &p.Record.Spec
	return &measurement{
		pod: p, usage: p.Usage, devices: p.Devices,
		labels: []string{"", p.Record.CgroupPath, "", "", pod.Namespace, pod.Name},
	}
}

// apply reads metrics off a measurement.
func (m *measurement) apply(metrics []metric) []*runtime.Metric {
	var out []*runtime.Metric
	for i := range metrics {
		for _, v := range metrics[i].read(m) {
			out = append(out, &runtime.Metric{
				Name: metrics[i].name, Timestamp: spec.Nanos(v.at), MetricType: metrics[i].kind,
				LabelValues: slices.Concat(m.labels, v.labels), Value: number(v.n),
			})
		}
	}
	return out
}

// one makes a reader of a metric with a single value.
func one(read func(u *cgroup.Usage) uint64) func(*measurement) []value {
	return func(m *measurement) []value { return []value{{n: read(m.usage)}} }
}

// wholeSeconds is one for a time.
func wholeSeconds(read func(u *cgroup.Usage) time.Duration) func(*measurement) []value {
	return one(func(u *cgroup.Usage) uint64 { return uint64(read(u) / time.Second) })
}

// stalled is the reader of a pressure metric, which has no value where the kernel does not measure it.
func stalled(read func(u *cgroup.Usage) *cgroup.Pressure, pick func(p *cgroup.Pressure) cgroup.Stall) func(*measurement) []value {
	return func(m *measurement) []value {
		p := read(m.usage)
		if p == nil {
			return nil
		}
		return []value{{n: uint64(pick(p).Total / time.Second)}}
	}
}

// each makes a reader of a metric with a value per block device.
func each(read func(d *stats.Device) uint64) func(*measurement) []value {
	return func(m *measurement) []value {
		var out []value
		for i := range m.devices {
			d := &m.devices[i]
			out = append(out, value{n: read(d), labels: []string{"/dev/" + d.Name}})
		}
		return out
	}
}

// deviceOperations is the reader of the one metric that has reads and writes together.
func deviceOperations(m *measurement) []value {
	var out []value
	for i := range m.devices {
		d := &m.devices[i]
		major, minor := strconv.FormatUint(uint64(d.Major), 10), strconv.FormatUint(uint64(d.Minor), 10)
		out = append(out,
			value{n: d.ReadBytes, labels: []string{"/dev/" + d.Name, major, minor, "Read"}},
			value{n: d.WriteBytes, labels: []string{"/dev/" + d.Name, major, minor, "Write"}})
	}
	return out
}

// hugepageValues makes a reader of a metric with a value per huge page size.
func hugepageValues(read func(h *cgroup.HugepageUsage) uint64) func(*measurement) []value {
	return func(m *measurement) []value {
		var out []value
		for i := range m.usage.Detail.Hugepages {
			h := &m.usage.Detail.Hugepages[i]
			out = append(out, value{n: read(h), labels: []string{h.PageSize}})
		}
		return out
	}
}

// faults is the reader of page faults: of the cgroup itself, and with those below.
func faults(m *measurement) []value {
	u := &m.usage.Memory
	return []value{
		{n: u.OwnFaults, labels: []string{"pgfault", "container"}},
		{n: u.OwnMajorFaults, labels: []string{"pgmajfault", "container"}},
		{n: u.Faults, labels: []string{"pgfault", "hierarchy"}},
		{n: u.MajorFaults, labels: []string{"pgmajfault", "hierarchy"}},
	}
}

// traffic makes a reader of a metric with a value per network interface. The loopback carries nothing
// into or out of a pod, and sums over interfaces would count it.
func traffic(read func(i *stats.Interface) uint64) func(*measurement) []value {
	return func(m *measurement) []value {
		var out []value
		for i := range m.pod.Network {
			if link := &m.pod.Network[i]; link.Name != "lo" {
				out = append(out, value{n: read(link), labels: []string{link.Name}})
			}
		}
		return out
	}
}
