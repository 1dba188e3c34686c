package cgroup

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestPageSizes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		host  []string
		asked string
		fine  bool
	}{
		{"the host's", []string{"2MB", "1GB"}, "1GB", true},
		{"another", []string{"2MB", "1GB"}, "16MB", false},
		{"the same in another unit", []string{"2MB", "1GB"}, "1024MB", false},
		{"a host without huge pages", nil, "2MB", false},
	} {
		for _, limit := range []uint64{0, 4 << 20} { // a kubelet sends a zero for each size, but the host's only
			err := checkPageSizes([]specs.LinuxHugepageLimit{{Pagesize: tt.asked, Limit: limit}}, tt.host)
			if tt.fine != (err == nil) {
				t.Errorf("%s, limit %d: %v", tt.name, limit, err)
			}
			if err != nil && (!errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.asked) || !strings.Contains(err.Error(), "hugepage_limits")) {
				t.Errorf("%s: %v is not clear", tt.name, err)
			}
		}
	}
}
