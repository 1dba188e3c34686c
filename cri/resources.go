package cri

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

var (
	cpuList  = regexp.MustCompile(`^\d+(-\d+)?(,\d+(-\d+)?)*$`) // cpuset(7), list format
	pageSize = regexp.MustCompile(`^[1-9]\d*[KMG]B$`)
)

// resources converts limits, refusing what the kernel would refuse at start. Nil stays nil.
func resources(r *runtime.LinuxContainerResources, at field) (*spec.Resources, error) {
	if r == nil {
		return nil, nil
	}
	for _, check := range []func(*runtime.LinuxContainerResources, field) error{checkCPU, checkMemory, checkUnified} {
		if err := check(r, at); err != nil {
			return nil, err
		}
	}
	pages, err := hugepages(r.HugepageLimits, at.sub("hugepage_limits"))
	if err != nil {
		return nil, err
	}
	return &spec.Resources{
		CPUPeriod: r.CpuPeriod, CPUQuota: r.CpuQuota, CPUShares: r.CpuShares,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		Memory: r.MemoryLimitInBytes, MemorySwap: r.MemorySwapLimitInBytes, OOMScoreAdj: r.OomScoreAdj,
		Hugepages: pages, Unified: r.Unified,
	}, nil
}

// checkCPU knows the kernel's bounds: Documentation/scheduler/sched-bwc.rst (a period of 1 ms to
// 1 s, a quota of at least 1 ms) and sched-design-CFS.rst (shares of 2 to 2¹⁸).
func checkCPU(r *runtime.LinuxContainerResources, at field) error {
	if p := r.CpuPeriod; p != 0 && (p < 1000 || p > 1000000) {
		return at.sub("cpu_period").errorf("%d is neither 0 nor within 1000-1000000", p)
	}
	if q := r.CpuQuota; q < -1 || (q > 0 && q < 1000) {
		return at.sub("cpu_quota").errorf("%d is neither -1, 0 nor at least 1000", q)
	}
	if s := r.CpuShares; s != 0 && (s < 2 || s > 1<<18) {
		return at.sub("cpu_shares").errorf("%d is neither 0 nor within 2-%d", s, 1<<18)
	}
	for name, list := range map[string]string{"cpuset_cpus": r.CpusetCpus, "cpuset_mems": r.CpusetMems} {
		if list != "" && !cpuList.MatchString(list) {
			return at.sub(name).errorf("%q is not a list of numbers and ranges", list)
		}
	}
	return nil
}

// checkMemory refuses a limit of memory and swap together that is below that of memory alone.
func checkMemory(r *runtime.LinuxContainerResources, at field) error {
	memory, swap := r.MemoryLimitInBytes, r.MemorySwapLimitInBytes
	if memory < -1 {
		return at.sub("memory_limit_in_bytes").errorf("%d is less than -1", memory)
	}
	if swap < -1 {
		return at.sub("memory_swap_limit_in_bytes").errorf("%d is less than -1", swap)
	}
	if swap > 0 && memory <= 0 {
		return at.sub("memory_swap_limit_in_bytes").errorf("needs memory_limit_in_bytes")
	}
	if swap > 0 && swap < memory {
		return at.sub("memory_swap_limit_in_bytes").errorf("%d is less than memory_limit_in_bytes, which it includes", swap)
	}
	if r.OomScoreAdj < -1000 || r.OomScoreAdj > 1000 {
		return at.sub("oom_score_adj").errorf("%d is not within -1000-1000", r.OomScoreAdj)
	}
	return nil
}

// checkUnified refuses keys that are no file of a cgroup's own directory.
func checkUnified(r *runtime.LinuxContainerResources, at field) error {
	for _, key := range slices.Sorted(maps.Keys(r.Unified)) {
		at := at.sub("unified").key(key)
		if !strings.Contains(key, ".") || strings.ContainsAny(key, "/\x00\n") || strings.HasPrefix(key, ".") {
			return at.errorf("is not the name of a cgroup file")
		}
		if err := at.text(r.Unified[key]); err != nil {
			return err
		}
	}
	return nil
}

func hugepages(limits []*runtime.HugepageLimit, at field) ([]spec.Hugepage, error) {
	var out []spec.Hugepage
	for i, l := range limits {
		size, at := l.GetPageSize(), at.at(i).sub("page_size")
		if !pageSize.MatchString(size) {
			return nil, at.errorf("%q is not a page size like 2MB", size)
		}
		if slices.ContainsFunc(out, func(h spec.Hugepage) bool { return h.PageSize == size }) {
			return nil, at.errorf("%s is given twice", size)
		}
		out = append(out, spec.Hugepage{PageSize: size, Limit: l.GetLimit()})
	}
	return out, nil
}

// wireResources is resources backwards.
func wireResources(r *spec.Resources) *runtime.LinuxContainerResources {
	if r == nil {
		return nil
	}
	out := &runtime.LinuxContainerResources{
		CpuPeriod: r.CPUPeriod, CpuQuota: r.CPUQuota, CpuShares: r.CPUShares,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		MemoryLimitInBytes: r.Memory, MemorySwapLimitInBytes: r.MemorySwap, OomScoreAdj: r.OOMScoreAdj,
		Unified: r.Unified,
	}
	for _, h := range r.Hugepages {
		out.HugepageLimits = append(out.HugepageLimits, &runtime.HugepageLimit{PageSize: h.PageSize, Limit: h.Limit})
	}
	return out
}
