package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hugepageSizes are the host's page sizes as hugetlb files have them: each size has a directory
// "hugepages-2048kB" (Documentation/admin-guide/mm/hugetlbpage.rst) and is written with the largest unit up to GB
// (mm/hugetlb_cgroup.c, mem_fmt). The kernel learns of sizes only while it boots.
var hugepageSizes = sync.OnceValue(func() []string {
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil // a kernel without huge pages
	}
	var out []string
	for _, e := range entries {
		kb, ok := strings.CutPrefix(e.Name(), "hugepages-")
		n, err := strconv.ParseUint(strings.TrimSuffix(kb, "kB"), 10, 64)
		switch {
		case !ok || err != nil:
		case n >= 1<<20:
			out = append(out, fmt.Sprintf("%dGB", n>>20))
		case n >= 1<<10:
			out = append(out, fmt.Sprintf("%dMB", n>>10))
		default:
			out = append(out, fmt.Sprintf("%dKB", n))
		}
	}
	return out
})

// checkPageSizes refuses page sizes that are not among the host's: a limit of zero, too, as it would
// hide a mistake.
func checkPageSizes(limits []specs.LinuxHugepageLimit, host []string) error {
	for _, l := range limits {
		if !slices.Contains(host, l.Pagesize) {
			return fmt.Errorf("hugepage_limits: page size %q is not one of this host's, %s: %w",
				l.Pagesize, strings.Join(host, ", "), errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
