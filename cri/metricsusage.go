package cri

import (
	"time"

	"tare/cgroup"
	"tare/stats"
)

// usageMetrics are read off a cgroup, a container's or a pod's.
var usageMetrics = []metric{
	{"container_blkio_device_usage_total", "Bytes transferred to and from a block device.", counter,
		[]string{"device", "major", "minor", "operation"}, deviceOperations},
	{"container_cpu_cfs_periods_total", "Elapsed enforcement periods of the CPU quota.", counter, nil,
		one(func(u *cgroup.Usage) uint64 { return u.CPU.Periods })},
	{"container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota ran out.", counter, nil,
		one(func(u *cgroup.Usage) uint64 { return u.CPU.ThrottledPeriods })},
	{"container_cpu_cfs_throttled_seconds_total", "Time for which the CPU quota withheld the CPU.", counter, nil,
		wholeSeconds(func(u *cgroup.Usage) time.Duration { return u.CPU.Throttled })},
	{"container_cpu_system_seconds_total", "CPU time consumed in the kernel.", counter, nil,
		wholeSeconds(func(u *cgroup.Usage) time.Duration { return u.CPU.System })},
	{"container_cpu_usage_seconds_total", "CPU time consumed.", counter, []string{"cpu"}, func(m *measurement) []value {
		return []value{{n: uint64(m.usage.CPU.Total / time.Second), labels: []string{"total"}}}
	}},
	{"container_cpu_user_seconds_total", "CPU time consumed in user space.", counter, nil,
		wholeSeconds(func(u *cgroup.Usage) time.Duration { return u.CPU.User })},
	{"container_fs_reads_bytes_total", "Bytes read from block devices.", counter, []string{"device"},
		each(func(d *stats.Device) uint64 { return d.ReadBytes })},
	{"container_fs_reads_total", "Reads from block devices.", counter, []string{"device"},
		each(func(d *stats.Device) uint64 { return d.Reads })},
	{"container_fs_writes_bytes_total", "Bytes written to block devices.", counter, []string{"device"},
		each(func(d *stats.Device) uint64 { return d.WriteBytes })},
	{"container_fs_writes_total", "Writes to block devices.", counter, []string{"device"},
		each(func(d *stats.Device) uint64 { return d.Writes })},
	{"container_hugetlb_max_usage_bytes", "Most bytes in huge pages used at once.", gauge, []string{"pagesize"},
		hugepageValues(func(h *cgroup.HugepageUsage) uint64 { return h.Peak })},
	{"container_hugetlb_usage_bytes", "Bytes in huge pages.", gauge, []string{"pagesize"},
		hugepageValues(func(h *cgroup.HugepageUsage) uint64 { return h.Current })},
	{"container_last_seen", "When it was measured, in seconds since the epoch.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return uint64(u.Time.Unix()) })},
	{"container_memory_cache", "Bytes of page cache.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.File })},
	{"container_memory_failcnt", "How often memory was about to exceed its limit.", counter, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Detail.LimitHits })},
	{"container_memory_failures_total", "Page faults.", counter, []string{"failure_type", "scope"}, faults},
	{"container_memory_kernel_usage", "Bytes of kernel memory.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Detail.Kernel })},
	{"container_memory_mapped_file", "Bytes of files mapped into memory.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.MappedFile })},
	{"container_memory_max_usage_bytes", "Most bytes of memory used at once.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Detail.MemoryPeak })},
	{"container_memory_rss", "Bytes of anonymous memory.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.Anon })},
	{"container_memory_swap", "Bytes of swap in use.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.Swap })},
	{"container_memory_usage_bytes", "Bytes of memory in use, whenever they were last accessed.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.Current })},
	{"container_memory_working_set_bytes", "Bytes of memory in use without inactive page cache.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Memory.WorkingSet() })},
	{"container_oom_events_total", "Processes killed for want of memory.", counter, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Detail.OOMKills })},
	{"container_pressure_cpu_stalled_seconds_total", "Time for which all tasks waited for the CPU.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.CPUPressure }, full)},
	{"container_pressure_cpu_waiting_seconds_total", "Time for which some task waited for the CPU.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.CPUPressure }, some)},
	{"container_pressure_io_stalled_seconds_total", "Time for which all tasks waited for I/O.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.IOPressure }, full)},
	{"container_pressure_io_waiting_seconds_total", "Time for which some task waited for I/O.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.IOPressure }, some)},
	{"container_pressure_memory_stalled_seconds_total", "Time for which all tasks waited for memory.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.MemoryPressure }, full)},
	{"container_pressure_memory_waiting_seconds_total", "Time for which some task waited for memory.", counter, nil,
		stalled(func(u *cgroup.Usage) *cgroup.Pressure { return u.MemoryPressure }, some)},
	{"container_threads", "Threads.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Threads })},
	{"container_threads_max", "Limit of threads, 0 if there is none.", gauge, nil,
		one(func(u *cgroup.Usage) uint64 { return u.Detail.ThreadsMax })},
}

func some(p *cgroup.Pressure) cgroup.Stall { return p.Some }
func full(p *cgroup.Pressure) cgroup.Stall { return p.Full }

// networkMetrics are a pod's: its containers share one network.
var networkMetrics = []metric{
	{"container_network_receive_bytes_total", "Bytes received.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Rx.Bytes })},
	{"container_network_receive_errors_total", "Errors of receiving.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Rx.Errors })},
	{"container_network_receive_packets_dropped_total", "Packets dropped when received.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Rx.Dropped })},
	{"container_network_receive_packets_total", "Packets received.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Rx.Packets })},
	{"container_network_transmit_bytes_total", "Bytes sent.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Tx.Bytes })},
	{"container_network_transmit_errors_total", "Errors of sending.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Tx.Errors })},
	{"container_network_transmit_packets_dropped_total", "Packets dropped when sent.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Tx.Dropped })},
	{"container_network_transmit_packets_total", "Packets sent.", counter, []string{"interface"},
		traffic(func(i *stats.Interface) uint64 { return i.Tx.Packets })},
}
