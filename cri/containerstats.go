package cri

import (
	"context"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/cgroup"
	"tare/spec"
	"tare/stats"
)

// ContainerStats tells what a container uses. One that does not run uses no more than its writable layer.
func (s *Server) ContainerStats(_ context.Context, r *runtime.ContainerStatsRequest) (*runtime.ContainerStatsResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	return &runtime.ContainerStatsResponse{Stats: wireContainerStats(s.deps.Stats.Container(c, stats.Basic))}, nil
}

func wireContainerStats(c stats.Container) *runtime.ContainerStats {
	out := &runtime.ContainerStats{
		Attributes: &runtime.ContainerAttributes{
			Id: string(c.Record.ID), Metadata: wireContainerMetadata(c.Record),
			Labels: c.Record.Spec.Labels, Annotations: c.Record.Spec.Annotations,
		},
		WritableLayer: wireUsage(c.Layer),
	}
	if c.Usage == nil {
		return out
	}
	out.Cpu = wireCPU(c.Usage, c.NanoCores)
	out.Memory = wireMemory(c.Usage)
	out.Swap = wireSwap(c.Usage)
	out.Io = &runtime.IoUsage{Timestamp: spec.Nanos(c.Usage.Time), Psi: wirePressure(c.Usage.IOPressure)}
	return out
}

func wireCPU(u *cgroup.Usage, nanoCores uint64) *runtime.CpuUsage {
	return &runtime.CpuUsage{
		Timestamp: spec.Nanos(u.Time), UsageCoreNanoSeconds: number(uint64(u.CPU.Total)),
		UsageNanoCores: number(nanoCores), Psi: wirePressure(u.CPUPressure),
	}
}

func wireMemory(u *cgroup.Usage) *runtime.MemoryUsage {
	m := &u.Memory
	out := &runtime.MemoryUsage{
		Timestamp: spec.Nanos(u.Time), WorkingSetBytes: number(m.WorkingSet()), UsageBytes: number(m.Current),
		RssBytes: number(m.Anon), PageFaults: number(m.Faults), MajorPageFaults: number(m.MajorFaults),
		Psi: wirePressure(u.MemoryPressure),
	}
	if free, limited := m.Available(); limited {
		out.AvailableBytes = number(free)
	}
	return out
}

func wireSwap(u *cgroup.Usage) *runtime.SwapUsage {
	out := &runtime.SwapUsage{Timestamp: spec.Nanos(u.Time), SwapUsageBytes: number(u.Memory.Swap)}
	if free, limited := u.Memory.SwapAvailable(); limited {
		out.SwapAvailableBytes = number(free)
	}
	return out
}

// wirePressure converts pressure; what is not measured is left out.
func wirePressure(p *cgroup.Pressure) *runtime.PsiStats {
	if p == nil {
		return nil
	}
	return &runtime.PsiStats{Some: wireStall(p.Some), Full: wireStall(p.Full)}
}

// wireStall converts one line of pressure; the total is in ns, as the kubelet expects.
func wireStall(s cgroup.Stall) *runtime.PsiData {
	return &runtime.PsiData{Total: uint64(s.Total), Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
}

func wireUsage(u spec.FilesystemUsage) *runtime.FilesystemUsage {
	return &runtime.FilesystemUsage{
		Timestamp:  wireTime(u.Time),
		FsId:       &runtime.FilesystemIdentifier{Mountpoint: u.Mountpoint},
		UsedBytes:  number(u.Bytes),
		InodesUsed: number(u.Inodes),
	}
}

// wireTime is a time that must be later than 1970; one that is not known is now.
func wireTime(t time.Time) int64 {
	if t.IsZero() {
		t = time.Now()
	}
	return t.UnixNano()
}

func number(n uint64) *runtime.UInt64Value { return &runtime.UInt64Value{Value: n} }
