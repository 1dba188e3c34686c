package cgroup

import "time"

// Usage is what a cgroup and all below it have used since it was made, or use now. A controller
// this host lacks leaves zeros.
type Usage struct {
	Time    time.Time // when it was read
	CPU     CPUUsage
	Memory  MemoryUsage
	Threads uint64 // pids.current: the pids controller counts tasks
	Detail  *Detail

	// Pressure is nil where the kernel does not measure it: on v1, or without CONFIG_PSI.
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// CPUUsage is processor time.
type CPUUsage struct {
	Total        time.Duration
	User, System time.Duration // on v1 only with Detail

	// Bandwidth control, Documentation/scheduler/sched-bwc.rst; on v1 only with Detail.
	Periods, ThrottledPeriods uint64
	Throttled                 time.Duration
}

// MemoryUsage is in bytes. A limit of 0 is none.
type MemoryUsage struct {
	Current      uint64 // all that is charged
	InactiveFile uint64 // of it, page cache that is given back first
	Anon         uint64 // with huge pages and swap cache
	File         uint64
	MappedFile   uint64
	Swap         uint64
	Limit        uint64 // the tightest on the way up, on v1; this cgroup's, on v2
	SwapLimit    uint64 // of swap alone; 0 also where there is no swap accounting

	Faults, MajorFaults       uint64
	OwnFaults, OwnMajorFaults uint64 // without cgroups below; on v2 the same as the others
}

// WorkingSet is what cannot be given back without hurting, as the kubelet reckons it for evictions.
func (m MemoryUsage) WorkingSet() uint64 { return m.Current - min(m.Current, m.InactiveFile) }

// Available is what is left below the limit, or false if there is none.
func (m MemoryUsage) Available() (uint64, bool) {
	return m.Limit - min(m.Limit, m.WorkingSet()), m.Limit > 0
}

// SwapAvailable is what is left below the swap limit, or false if there is none.
func (m MemoryUsage) SwapAvailable() (uint64, bool) {
	return m.SwapLimit - min(m.SwapLimit, m.Swap), m.SwapLimit > 0
}

// Detail is what only metrics show; ReadAll reads it.
type Detail struct {
	MemoryPeak uint64 // bytes
	Kernel     uint64 // bytes of kernel memory
	LimitHits  uint64 // how often memory was about to exceed its limit
	OOMKills   uint64
	ThreadsMax uint64 // 0: no limit
	Processes  []int  // ids of those in this cgroup itself, in our PID namespace
	Devices    []DeviceIO
	Hugepages  []HugepageUsage
}

// DeviceIO is what was read from and written to one block device.
type DeviceIO struct {
	Major, Minor          uint32
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64 // operations
}

// HugepageUsage is of one huge page size, in bytes.
type HugepageUsage struct {
	PageSize string // as hugetlb files have it: "2MB"
	Current  uint64
	Peak     uint64 // v1 only
}

// Pressure is how long tasks waited for a resource: some of them, or all at once
// (Documentation/accounting/psi.rst).
type Pressure struct{ Some, Full Stall }

// Stall is one line of a pressure file.
type Stall struct {
	Avg10, Avg60, Avg300 float64 // percent of the last so many seconds
	Total                time.Duration
}
