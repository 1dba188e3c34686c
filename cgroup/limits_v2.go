package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// settingsV2 translates resources into v2's files, Documentation/admin-guide/cgroup-v2.rst. The values
// the request gives by file name go last and win.
func settingsV2(r *specs.LinuxResources) ([]setting, error) {
	var b builder
	b.memoryV2(r.Memory)
	b.cpuV2(r.CPU)
	b.pids(r.Pids)
	b.blockIOV2(r.BlockIO)
	b.hugepages(r.HugepageLimits, ".max")
	b.rdma(r.Rdma)
	if n := r.Network; n != nil && (n.ClassID != nil || len(n.Priorities) > 0) {
		b.fail("network: cgroup v2 has no classid nor priorities")
	}
	b.unified(r.Unified)
	return b.settings, b.err
}

func (b *builder) memoryV2(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	b.refused(m)
	if m.Swappiness != nil {
		b.fail("memory.swappiness: cgroup v2 has none")
	}
	b.max("memory", "memory.max", value(m.Limit))
	b.swapV2(value(m.Limit), value(m.Swap))
	b.max("memory", "memory.low", value(m.Reservation))
}

// swapV2 sets memory.swap.max, which counts swap alone where OCI and v1 count memory with it.
func (b *builder) swapV2(limit, sum int64) {
	swap := "max"
	switch {
	case sum == -1, sum == 0 && limit == -1:
	case sum == 0:
		return
	case limit <= 0:
		b.fail("memory swap limit %d counts memory too and needs a memory limit beside it", sum)
	case sum < limit:
		b.fail("memory swap limit %d (memory and swap together) is below the memory limit %d", sum, limit)
	default:
		swap = strconv.FormatInt(sum-limit, 10)
	}
	if swap == "max" || swap == "0" { // see memoryV1
		b.optional("memory", "memory.swap.max", swap)
		return
	}
	b.add(setting{controller: "memory", file: "memory.swap.max", value: swap})
}

func (b *builder) cpuV2(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if c.RealtimePeriod != nil || c.RealtimeRuntime != nil {
		b.fail("cpu.realtimePeriod and cpu.realtimeRuntime: cgroup v2 has neither")
	}
	b.positive("cpu", "cpu.weight", weightOfShares(value(c.Shares)))
	quota, period := value(c.Quota), value(c.Period)
	text := "max"
	if quota > 0 {
		text = strconv.FormatInt(quota, 10)
	}
	switch {
	case period != 0:
		b.add(setting{controller: "cpu", file: "cpu.max", value: text + " " + strconv.FormatUint(period, 10)})
	case quota != 0: // one number leaves the period
		b.add(setting{controller: "cpu", file: "cpu.max", value: text})
	}
	if c.Burst != nil {
		b.number("cpu", "cpu.max.burst", *c.Burst)
	}
	if c.Idle != nil {
		b.add(setting{controller: "cpu", file: "cpu.idle", value: strconv.FormatInt(*c.Idle, 10)})
	}
	b.cpuset(c)
}

// weightOfShares maps cpu.shares (2-262144, usual 1024) to cpu.weight (1-10000, usual 100) so
// that both ends and the usual value meet: the curve of github.com/opencontainers/cgroups, which runc
// has used since 1.3.2 and the tests compare with.
func weightOfShares(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

func (b *builder) blockIOV2(io *specs.LinuxBlockIO) {
	if io == nil {
		return
	}
	if io.LeafWeight != nil {
		b.fail("blockIO.leafWeight: cgroup v2 has none")
	}
	if w := value(io.Weight); w != 0 {
		b.keyed("io", "io.weight", "default", weightOfBlkio(w), "100")
	}
	for _, w := range io.WeightDevice {
		if w.Weight != nil {
			b.keyed("io", "io.weight", device(w.LinuxBlockIODevice), weightOfBlkio(*w.Weight), "default")
		}
	}
	for _, class := range []struct {
		name    string
		devices []specs.LinuxThrottleDevice
	}{
		{"rbps", io.ThrottleReadBpsDevice}, {"wbps", io.ThrottleWriteBpsDevice},
		{"riops", io.ThrottleReadIOPSDevice}, {"wiops", io.ThrottleWriteIOPSDevice},
	} {
		for _, d := range class.devices {
			rate := fmt.Sprintf("%s=%d", class.name, d.Rate)
			b.keyed("io", "io.max", device(d.LinuxBlockIODevice), rate, class.name+"=max")
		}
	}
}

// weightOfBlkio stretches blkio's 10-1000 over io.weight's 1-10000.
func weightOfBlkio(w uint16) string {
	return strconv.Itoa(1 + (max(int(w), 10)-10)*9999/990)
}

// unified takes values by file name, in the order of the names. The files of the core ("cgroup.")
// are how this package steers the group, and not limits.
func (b *builder) unified(values map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(values)) {
		controller, rest, ok := strings.Cut(file, ".")
		if !ok || rest == "" || controller == "" || controller == "cgroup" || strings.Contains(file, "/") {
			b.fail("unified[%q] is not a controller's file", file)
			return
		}
		s := setting{controller: controller, file: file, value: values[file], field: fmt.Sprintf("unified[%q]", file)}
		if unset, ok := nested[file]; ok {
			b.lines(s, unset)
		} else {
			b.add(s)
		}
	}
}

// nested are the files with a line per key, and what a line says when nothing is asked for.
var nested = map[string]string{
	"io.max":    "rbps=max wbps=max riops=max wiops=max",
	"io.weight": "default",
	"rdma.max":  "hca_handle=max hca_object=max",
	"misc.max":  "max",
}

// lines adds each line of a nested file's value, so that each can be put back.
func (b *builder) lines(s setting, unset string) {
	for line := range strings.Lines(s.value) {
		s.value = strings.TrimSpace(line)
		s.key, _, _ = strings.Cut(s.value, " ")
		if s.key == s.value && s.file == "io.weight" { // the default's may be left out
			s.key = "default"
		}
		s.unset = s.key + " " + unset
		b.add(s)
	}
}
