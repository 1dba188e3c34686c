package pod

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestHugepages asks as kubelets do: a limit for one size, and none of the others.
func TestHugepages(t *testing.T) {
	have, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if !strings.Contains(string(have), "hugetlb") {
		t.Skip("needs hugetlb on cgroup v2")
	}
	leavesNothing(t, suite.shared)
	limit := func(size string, bytes uint64) *runtime.LinuxContainerResources {
		return &runtime.LinuxContainerResources{HugepageLimits: []*runtime.HugepageLimit{{PageSize: size, Limit: bytes}, {PageSize: "1GB"}}}
	}
	p := suite.shared.runPod(t)
	c := p.start(sleeper, resources(limit("2MB", 4<<20)))
	c.holds(t, map[string]string{"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304", "hugetlb.1GB.max": "0"})
	if err := c.update(limit("2MB", 8<<20)); err != nil {
		t.Fatal(err)
	}
	c.holds(t, map[string]string{"hugetlb.2MB.max": "8388608", "hugetlb.2MB.rsvd.max": "8388608", "hugetlb.1GB.max": "0"})
	refused(t, c.update(limit("16MB", 16<<20)), codes.InvalidArgument, "hugepage_limits", "16MB")
	c.holds(t, map[string]string{"hugetlb.2MB.max": "8388608", "hugetlb.1GB.max": "0"})
}
