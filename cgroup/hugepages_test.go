package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hugeVar has this program use so many bytes of huge pages instead of running tests.
const hugeVar = "TARE_TEST_HUGE"

func useHugepages(text string) error {
	var size int
	if _, err := fmt.Sscan(text, &size); err != nil {
		return err
	}
	pages, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB)
	if err != nil {
		return err
	}
	for i := 0; i < size; i += 4096 {
		pages[i] = 1
	}
	return nil
}

// TestHugepages: the kernel refuses to reserve more than the limit.
func TestHugepages(t *testing.T) {
	const sysctl, page = "/proc/sys/vm/nr_hugepages", 2 << 20
	was, err := os.ReadFile(sysctl)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("a kernel without huge pages")
	}
	forEachKind(t, func(t *testing.T, tree *Tree) {
		if !tree.v2() || tree.of("hugetlb") == nil {
			t.Skip("needs hugetlb on cgroup v2")
		}
		if err := os.WriteFile(sysctl, []byte("8"), 0); err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(sysctl, was, 0)
		g := create(t, tree)
		limit := []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2 * page}}
		if err := g.Set(&specs.LinuxResources{HugepageLimits: limit}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, g, "hugetlb", "hugetlb.2MB.rsvd.max"); got != fmt.Sprint(2*page) {
			t.Errorf("hugetlb.2MB.rsvd.max %s", got)
		}
		for n, want := range map[int]string{2: "", 3: "cannot allocate memory"} {
			cmd, out := run(t, g, fmt.Sprintf("%s=%d exec /proc/%d/exe", hugeVar, n*page, os.Getpid()))
			if err := cmd.Wait(); (err == nil) != (want == "") || !strings.Contains(out.String(), want) {
				t.Errorf("%d pages: %v: %s", n, err, out)
			}
		}
	})
}
