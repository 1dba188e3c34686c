package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

// resources are the limits in the runtime specification's terms; what was not asked for stays nil.
func resources(r *spec.Resources) *specs.LinuxResources {
	if r == nil {
		return &specs.LinuxResources{}
	}
	out := &specs.LinuxResources{Unified: r.Unified}
	cpu := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUPeriod > 0 {
		v := uint64(r.CPUPeriod)
		cpu.Period = &v
	}
	if r.CPUQuota != 0 {
		cpu.Quota = &r.CPUQuota
	}
	if r.CPUShares > 0 {
		v := uint64(r.CPUShares)
		cpu.Shares = &v
	}
	if cpu != (specs.LinuxCPU{}) {
		out.CPU = &cpu
	}
	memory := specs.LinuxMemory{}
	if r.Memory != 0 {
		memory.Limit = &r.Memory
	}
	if r.MemorySwap != 0 {
		memory.Swap = &r.MemorySwap
	}
	if r.MemoryReservation != 0 {
		memory.Reservation = &r.MemoryReservation
	}
	if memory != (specs.LinuxMemory{}) {
		out.Memory = &memory
	}
	if r.Pids != 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.Pids}
	}
	for _, h := range r.Hugepages {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: h.Limit})
	}
	return out
}
