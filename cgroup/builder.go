package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// builder collects settings and keeps the first thing that cannot be expressed.
type builder struct {
	settings []setting
	err      error
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

func (b *builder) add(s setting) { b.settings = append(b.settings, s) }

// number adds a value as it is.
func (b *builder) number(controller, file string, v uint64) {
	b.add(setting{controller: controller, file: file, value: strconv.FormatUint(v, 10)})
}

// positive adds a value of which zero means: as it is.
func (b *builder) positive(controller, file string, v uint64) {
	if v != 0 {
		b.number(controller, file, v)
	}
}

// signed adds a value of which zero means as it is, and -1 no limit.
func (b *builder) signed(controller, file string, v int64) {
	if v < -1 {
		b.fail("%s cannot be %d", file, v)
	}
	if v != 0 {
		b.add(setting{controller: controller, file: file, value: strconv.FormatInt(v, 10)})
	}
}

// max is signed for v2's files, which call no limit "max".
func (b *builder) max(controller, file string, v int64) {
	if v == -1 {
		b.add(setting{controller: controller, file: file, value: "max"})
		return
	}
	b.signed(controller, file, v)
}

// optional adds a value that a kernel without the file need not be told.
func (b *builder) optional(controller, file, v string) {
	b.add(setting{controller: controller, file: file, value: v, optional: true})
}

// keyed adds a line of a file with one line per key.
func (b *builder) keyed(controller, file, key string, values ...string) {
	line := func(v string) string { return strings.TrimSpace(key + " " + v) }
	b.add(setting{controller: controller, file: file, key: key, value: line(values[0]), unset: line(values[1])})
}

// refused fails what no version can do: limits the kernel has dropped (commit 58056f77502f, Linux
// 5.16), and a container that hangs instead of being killed, which nobody would wake.
func (b *builder) refused(m *specs.LinuxMemory) {
	//lint:ignore SA1019 deprecated is what it is refused for
	if value(m.Kernel) > 0 || value(m.KernelTCP) > 0 {
		b.fail("memory.kernel and memory.kernelTCP: the kernel has no such limits any more")
	}
	if value(m.DisableOOMKiller) {
		b.fail("memory.disableOOMKiller is not supported")
	}
}

// hugepages limits use and, where the kernel can (Linux 5.7), reservation. The kubelet sends a zero for every page
// size the host has (Kubernetes kuberuntime, GetHugepageLimitsFromResources): on a host without the
// controller a zero asks for nothing, a limit is an error.
func (b *builder) hugepages(limits []specs.LinuxHugepageLimit, suffix string) {
	for _, l := range limits {
		file, v := "hugetlb."+l.Pagesize, strconv.FormatUint(l.Limit, 10)
		b.add(setting{controller: "hugetlb", file: file + suffix, value: v, optional: l.Limit == 0})
		b.optional("hugetlb", file+".rsvd"+suffix, v)
	}
}

// pids is the same in both versions. A limit of 0 becomes 1, as systemd and runc have it: the
// container's first process is one.
func (b *builder) pids(p *specs.LinuxPids) {
	if p == nil || p.Limit == nil {
		return
	}
	v := "max"
	if *p.Limit >= 0 {
		v = strconv.FormatInt(max(*p.Limit, 1), 10)
	}
	b.add(setting{controller: "pids", file: "pids.max", value: v})
}

// cpuset is the same in both versions.
func (b *builder) cpuset(c *specs.LinuxCPU) {
	if c.Cpus != "" {
		b.add(setting{controller: "cpuset", file: "cpuset.cpus", value: c.Cpus})
	}
	if c.Mems != "" {
		b.add(setting{controller: "cpuset", file: "cpuset.mems", value: c.Mems})
	}
}

// rdma is the same in both versions, Documentation/admin-guide/cgroup-v1/rdma.rst.
func (b *builder) rdma(limits map[string]specs.LinuxRdma) {
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		var v []string
		if h := limits[name].HcaHandles; h != nil {
			v = append(v, fmt.Sprintf("hca_handle=%d", *h))
		}
		if o := limits[name].HcaObjects; o != nil {
			v = append(v, fmt.Sprintf("hca_object=%d", *o))
		}
		b.keyed("rdma", "rdma.max", name, strings.Join(v, " "), "hca_handle=max hca_object=max")
	}
}
