package cgroup

import (
	"sync"
	"time"
)

// sourcesV1 are v1's files, Documentation/admin-guide/cgroup-v1/.
var sourcesV1 = sync.OnceValue(func() []source {
	return append([]source{
		{controller: "cpuacct", file: "cpuacct.usage", parse: duration(func(u *Usage) *time.Duration { return &u.CPU.Total })},
		{controller: "cpuacct", file: "cpuacct.usage_user", detail: true, parse: duration(func(u *Usage) *time.Duration { return &u.CPU.User })},
		{controller: "cpuacct", file: "cpuacct.usage_sys", detail: true, parse: duration(func(u *Usage) *time.Duration { return &u.CPU.System })},
		{controller: "cpu", file: "cpu.stat", detail: true, parse: flat(cpuStatV1)},
		{controller: "memory", file: "memory.usage_in_bytes", parse: single(func(u *Usage) *uint64 { return &u.Memory.Current })},
		{controller: "memory", file: "memory.stat", parse: flat(memoryStatV1)},
		{controller: "memory", file: "memory.max_usage_in_bytes", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.MemoryPeak })},
		{controller: "memory", file: "memory.kmem.usage_in_bytes", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.Kernel })},
		{controller: "memory", file: "memory.failcnt", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.LimitHits })},
		{controller: "memory", file: "memory.oom_control", detail: true, parse: flat(oomControlV1)},
		{controller: "pids", file: "pids.current", parse: single(func(u *Usage) *uint64 { return &u.Threads })},
		{controller: "pids", file: "pids.max", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.ThreadsMax })},
		{controller: "pids", file: "cgroup.procs", detail: true, list: true, parse: processes},
		{controller: "blkio", file: "blkio.throttle.io_service_bytes_recursive", detail: true, parse: blockIO(
			func(d *DeviceIO) *uint64 { return &d.ReadBytes }, func(d *DeviceIO) *uint64 { return &d.WriteBytes })},
		{controller: "blkio", file: "blkio.throttle.io_serviced_recursive", detail: true, parse: blockIO(
			func(d *DeviceIO) *uint64 { return &d.Reads }, func(d *DeviceIO) *uint64 { return &d.Writes })},
	}, hugetlb(".usage_in_bytes", ".max_usage_in_bytes")...)
})

func cpuStatV1(u *Usage, key []byte, n uint64) {
	switch string(key) {
	case "nr_periods":
		u.CPU.Periods = n
	case "nr_throttled":
		u.CPU.ThrottledPeriods = n
	case "throttled_time":
		u.CPU.Throttled = time.Duration(n)
	}
}

// memoryStatV1 reads memory.stat, where "total_" values count cgroups below too.
func memoryStatV1(u *Usage, key []byte, n uint64) {
	m := &u.Memory
	switch string(key) {
	case "total_inactive_file":
		m.InactiveFile = n
	case "total_rss":
		m.Anon = n
	case "total_cache":
		m.File = n
	case "total_mapped_file":
		m.MappedFile = n
	case "total_swap":
		m.Swap = n
	case "pgfault":
		m.OwnFaults = n
	case "pgmajfault":
		m.OwnMajorFaults = n
	case "total_pgfault":
		m.Faults = n
	case "total_pgmajfault":
		m.MajorFaults = n
	case "hierarchical_memory_limit":
		m.Limit = limitV1(n)
	case "hierarchical_memsw_limit": // memory and swap together, after the other
		if sum := limitV1(n); sum > m.Limit && m.Limit > 0 {
			m.SwapLimit = sum - m.Limit
		}
	}
}

// limitV1 makes 0 of v1's way to say no limit: the highest number of pages, in bytes
// (include/linux/page_counter.h, PAGE_COUNTER_MAX).
func limitV1(n uint64) uint64 {
	if n >= 1<<62 {
		return 0
	}
	return n
}

func oomControlV1(u *Usage, key []byte, n uint64) {
	if string(key) == "oom_kill" {
		u.Detail.OOMKills = n
	}
}

// blockIO makes a parser of lines "8:0 Read 4096", to which one with a sum of all is added.
func blockIO(read, write func(d *DeviceIO) *uint64) func([]byte, *Usage) error {
	return func(content []byte, u *Usage) error {
		for line, rest := text(content).line(); len(line) > 0; line, rest = rest.line() {
			name, values := line.word()
			operation, value := values.word()
			n, ok := value.number()
			if !ok {
				continue // "Total 4096"
			}
			at := read
			switch string(operation) {
			case "Read":
			case "Write":
				at = write
			default: // sums by other properties
				continue
			}
			d, err := u.Detail.device(name)
			if err != nil {
				return err
			}
			*at(d) = n
		}
		return nil
	}
}

// hugetlb lists the files of each huge page size of this host; peak is empty where there is none.
func hugetlb(current, peak string) []source {
	var out []source
	for _, size := range hugepageSizes() {
		out = append(out, source{controller: "hugetlb", file: "hugetlb." + size + current, detail: true,
			parse: single(func(u *Usage) *uint64 { return &u.Detail.hugepage(size).Current })})
		if peak != "" {
			out = append(out, source{controller: "hugetlb", file: "hugetlb." + size + peak, detail: true,
				parse: single(func(u *Usage) *uint64 { return &u.Detail.hugepage(size).Peak })})
		}
	}
	return out
}
