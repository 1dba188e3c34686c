package nri

import (
	"fmt"
	"math"

	"github.com/containerd/nri/pkg/adaptation"

	"tare/spec"
)

// resources are limits as this module has them. What it has no word for is refused.
func resources(r *adaptation.LinuxResources) (*spec.Resources, error) {
	cpu, memory := r.GetCpu(), r.GetMemory()
	// memory.use_hierarchy needs nothing: since Linux 5.11 no memory cgroup is anything else.
	err := refused("limit", map[string]bool{
		"resources.blockio_class":             r.GetBlockioClass() != nil,
		"resources.rdt_class":                 r.GetRdtClass() != nil,
		"resources.devices":                   len(r.GetDevices()) > 0,
		"resources.cpu.realtime_runtime":      cpu.GetRealtimeRuntime() != nil,
		"resources.cpu.realtime_period":       cpu.GetRealtimePeriod() != nil,
		"resources.memory.kernel":             memory.GetKernel() != nil,
		"resources.memory.kernel_tcp":         memory.GetKernelTcp() != nil,
		"resources.memory.swappiness":         memory.GetSwappiness() != nil,
		"resources.memory.disable_oom_killer": memory.GetDisableOomKiller().GetValue(),
	})
	if err != nil {
		return nil, err
	}
	for field, n := range map[string]uint64{"cpu.shares": cpu.GetShares().GetValue(), "cpu.period": cpu.GetPeriod().GetValue()} {
		if n > math.MaxInt64 {
			return nil, fmt.Errorf("limit linux.resources.%s: %d is not below 2^63", field, n)
		}
	}
	out := &spec.Resources{
		CPUPeriod: int64(cpu.GetPeriod().GetValue()), CPUQuota: cpu.GetQuota().GetValue(), CPUShares: int64(cpu.GetShares().GetValue()),
		CpusetCpus: cpu.GetCpus(), CpusetMems: cpu.GetMems(),
		Memory: memory.GetLimit().GetValue(), MemorySwap: memory.GetSwap().GetValue(), Unified: r.GetUnified(),
		MemoryReservation: memory.GetReservation().GetValue(), Pids: r.GetPids().GetLimit(),
	}
	for _, h := range r.GetHugepageLimits() {
		out.Hugepages = append(out.Hugepages, spec.Hugepage{PageSize: h.PageSize, Limit: h.Limit})
	}
	return out, nil
}
