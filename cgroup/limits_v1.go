package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// settingsV1 translates resources into v1's files, Documentation/admin-guide/cgroup-v1/.
func settingsV1(r *specs.LinuxResources) ([]setting, error) {
	if len(r.Unified) > 0 {
		return nil, errors.New("unified: this host's cgroups are v1, which has no such files")
	}
	var b builder
	b.memoryV1(r.Memory)
	b.cpuV1(r.CPU)
	b.pids(r.Pids)
	b.blockIOV1(r.BlockIO)
	b.hugepages(r.HugepageLimits, ".limit_in_bytes")
	b.rdma(r.Rdma)
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			b.number("net_cls", "net_cls.classid", uint64(*n.ClassID))
		}
		for _, p := range n.Priorities {
			b.keyed("net_prio", "net_prio.ifpriomap", p.Name, strconv.FormatUint(uint64(p.Priority), 10), "0")
		}
	}
	return b.settings, b.err
}

func (b *builder) memoryV1(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	b.refused(m)
	limit, swap := value(m.Limit), value(m.Swap)
	if limit == -1 && swap == 0 {
		swap = -1 // the sum cannot stay below a limit that is lifted
	}
	b.signed("memory", "memory.limit_in_bytes", limit)
	switch {
	case swap == -1 || swap != 0 && swap == limit:
		// Without swap accounting (swapaccount=0) there is nothing to lift, nor to forbid where a host
		// follows the kubelet's advice to have no swap.
		b.optional("memory", "memory.memsw.limit_in_bytes", strconv.FormatInt(swap, 10))
	case swap > 0 && limit > swap:
		b.fail("memory swap limit %d (memory and swap together) is below the memory limit %d", swap, limit)
	default:
		b.signed("memory", "memory.memsw.limit_in_bytes", swap)
	}
	b.signed("memory", "memory.soft_limit_in_bytes", value(m.Reservation))
	if m.Swappiness != nil {
		b.number("memory", "memory.swappiness", *m.Swappiness)
	}
}

func (b *builder) cpuV1(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	b.positive("cpu", "cpu.shares", value(c.Shares))
	b.positive("cpu", "cpu.cfs_period_us", value(c.Period))
	b.signed("cpu", "cpu.cfs_quota_us", value(c.Quota))
	if c.Burst != nil {
		b.number("cpu", "cpu.cfs_burst_us", *c.Burst)
	}
	b.positive("cpu", "cpu.rt_period_us", value(c.RealtimePeriod))
	b.signed("cpu", "cpu.rt_runtime_us", value(c.RealtimeRuntime))
	if c.Idle != nil {
		b.add(setting{controller: "cpu", file: "cpu.idle", value: strconv.FormatInt(*c.Idle, 10)})
	}
	b.cpuset(c)
}

func (b *builder) blockIOV1(io *specs.LinuxBlockIO) {
	if io == nil {
		return
	}
	if io.LeafWeight != nil || slices.ContainsFunc(io.WeightDevice, func(w specs.LinuxWeightDevice) bool { return w.LeafWeight != nil }) {
		b.fail("blockIO.leafWeight went with the CFQ scheduler in Linux 5.0")
	}
	// BFQ is the one scheduler left that knows weights, Documentation/block/bfq-iosched.rst.
	b.positive("blkio", "blkio.bfq.weight", uint64(value(io.Weight)))
	for _, w := range io.WeightDevice {
		if w.Weight != nil {
			b.keyed("blkio", "blkio.bfq.weight_device", device(w.LinuxBlockIODevice), strconv.Itoa(int(*w.Weight)), "0")
		}
	}
	for file, devices := range map[string][]specs.LinuxThrottleDevice{
		"blkio.throttle.read_bps_device":   io.ThrottleReadBpsDevice,
		"blkio.throttle.write_bps_device":  io.ThrottleWriteBpsDevice,
		"blkio.throttle.read_iops_device":  io.ThrottleReadIOPSDevice,
		"blkio.throttle.write_iops_device": io.ThrottleWriteIOPSDevice,
	} {
		for _, d := range devices {
			b.keyed("blkio", file, device(d.LinuxBlockIODevice), strconv.FormatUint(d.Rate, 10), "0")
		}
	}
}

// device is a block device as blkio files name it.
func device(d specs.LinuxBlockIODevice) string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }
