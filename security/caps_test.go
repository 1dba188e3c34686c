package security

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tare/spec"

	"github.com/containerd/errdefs"
)

func TestCompute(t *testing.T) {
	all := strings.Join(Names(1<<spec.Capabilities-1), " ")
	usual := strings.Join(Names(defaultCapabilities), " ")
	for _, c := range []struct {
		name         string
		s            spec.Security
		set, ambient string
	}{
		{"default", spec.Security{}, usual, ""},
		{"privileged", spec.Security{Privileged: true, DropCaps: []string{"ALL"}}, all, ""},
		{"add", spec.Security{AddCaps: []string{"CAP_SYS_TIME"}}, strings.ReplaceAll(usual, "CAP_MKNOD", "CAP_SYS_TIME CAP_MKNOD"), ""},
		{"drop", spec.Security{DropCaps: []string{"CAP_CHOWN"}}, strings.ReplaceAll(usual, "CAP_CHOWN ", ""), ""},
		{"drop wins", spec.Security{AddCaps: []string{"CAP_BPF"}, DropCaps: []string{"CAP_BPF"}}, usual, ""},
		{"all", spec.Security{AddCaps: []string{"ALL"}}, all, ""},
		{"all but one", spec.Security{AddCaps: []string{"ALL"}, DropCaps: []string{"CAP_CHOWN"}}, strings.TrimPrefix(all, "CAP_CHOWN "), ""},
		{"none", spec.Security{DropCaps: []string{"ALL"}}, "", ""},
		{"none but one", spec.Security{AddCaps: []string{"CAP_KILL"}, DropCaps: []string{"ALL"}}, "CAP_KILL", ""},
		{"all and none", spec.Security{AddCaps: []string{"ALL", "CAP_KILL"}, DropCaps: []string{"ALL"}}, "CAP_KILL", ""},
		{"ambient", spec.Security{DropCaps: []string{"ALL"}, AmbientCaps: []string{"CAP_NET_ADMIN"}}, "CAP_NET_ADMIN", "CAP_NET_ADMIN"},
		{"ambient dropped", spec.Security{DropCaps: []string{"CAP_KILL"}, AmbientCaps: []string{"CAP_KILL"}}, strings.ReplaceAll(usual, "CAP_KILL ", ""), ""},
		{"all ambient", spec.Security{DropCaps: []string{"ALL"}, AddCaps: []string{"CAP_KILL"}, AmbientCaps: []string{"ALL"}}, "CAP_KILL", "CAP_KILL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, ambient, err := compute(&c.s)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(Names(set), " "); got != c.set {
				t.Errorf("set\n got %s\nwant %s", got, c.set)
			}
			if got := strings.Join(Names(ambient), " "); got != c.ambient {
				t.Errorf("ambient %s, want %s", got, c.ambient)
			}
		})
	}
}

func TestUnknownCapability(t *testing.T) {
	for field, s := range map[string]spec.Security{
		"add_capabilities":         {AddCaps: []string{"CAP_NO_SUCH"}},
		"drop_capabilities":        {DropCaps: []string{"CHOWN"}},
		"add_ambient_capabilities": {AmbientCaps: []string{""}},
	} {
		if _, err := Capabilities(&s); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want InvalidArgument naming it", field, err)
		}
	}
	if _, err := Mask([]string{"ALL"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Mask of ALL: %v", err)
	}
}

// TestHostFilter compares what is left of all capabilities with this process's bounding set.
func TestHostFilter(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapBnd:")
	want, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	caps, err := Capabilities(&spec.Security{Privileged: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range [][]string{caps.Bounding, caps.Effective, caps.Permitted} {
		if got, err := Mask(set); got != want || err != nil {
			t.Errorf("set %#x, %v, want %#x", got, err, want)
		}
	}
	if len(caps.Inheritable)+len(caps.Ambient) != 0 || slices.Contains(caps.Bounding, "") {
		t.Errorf("inheritable %v, ambient %v", caps.Inheritable, caps.Ambient)
	}
}
