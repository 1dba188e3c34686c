package container

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestNodeMask(t *testing.T) {
	for list, want := range map[string][]uint64{
		"": nil, "0": {1}, "1,3": {0b1010}, "0-2": {0b111}, "63-64": {1 << 63, 1}, "1023": append(make([]uint64, 15), 1<<63),
	} {
		if got, err := nodeMask(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("nodes %q: %x, %v, want %x", list, got, err, want)
		}
	}
	for _, list := range []string{"-", ",", "1,", "x", "2-1", "1024", "0-9999999", "-1", "1-2-3"} {
		if got, err := nodeMask(list); err == nil {
			t.Errorf("nodes %q: %x", list, got)
		}
	}
}

func TestCheckMemoryPolicy(t *testing.T) {
	for want, p := range map[string]*specs.LinuxMemoryPolicy{
		`mode "MPOL_MOST"`:     {Mode: "MPOL_MOST"},
		`flags: "MPOL_F_NONE"`: {Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_NONE"}},
		`nodes "a"`:            {Mode: specs.MpolBind, Nodes: "a"},
	} {
		if err := checkMemoryPolicy(p); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "memory_policy."+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := checkMemoryPolicy(&specs.LinuxMemoryPolicy{Mode: specs.MpolPreferredMany, Nodes: "0,1"}); err != nil {
		t.Error(err)
	}
}
