package pod

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/nsutil"
)

// TestStatusFeatures compares what Status says the runtime can do with what probes find where it runs.
func TestStatusFeatures(t *testing.T) {
	d := suite.shared
	got, err := d.runtime.Status(deadline(t), &runtime.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	can := func(probe error) bool { return probe == nil }
	rro, userns := can(nsutil.ProbeRecursiveReadonly()), can(nsutil.ProbeOverlayIDMapped(d.path("root")))
	handler := func(name string, userns bool) *runtime.RuntimeHandler {
		return &runtime.RuntimeHandler{Name: name, Features: &runtime.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: rro, UserNamespaces: userns}}
	}
	want := &runtime.StatusResponse{
		Status: got.Status,
		RuntimeHandlers: []*runtime.RuntimeHandler{
			handler("", userns), handler("tare", userns), handler(isolated, userns && can(nsutil.ProbeNestedUserNS())),
		},
		Features: &runtime.RuntimeFeatures{
			SupplementalGroupsPolicy:  true,
			UserNamespacesHostNetwork: can(nsutil.ProbeUserNSHostNetwork()),
			MountOptions:              can(nsutil.ProbeMountOptions()),
		},
	}
	if !proto.Equal(got, want) {
		t.Errorf("status is %v, want %v", got, want)
	}
}

func TestMountOptions(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	all := []string{"noexec", "nodev", "nosuid"}
	c := p.start(sleeper, volume(&runtime.Mount{HostPath: t.TempDir(), ContainerPath: "/all", MountOptions: all}))
	for _, option := range all {
		if line := c.exec("grep ' /all ' /proc/self/mountinfo | cut -d' ' -f6"); !strings.Contains(","+strings.TrimSpace(line)+",", ","+option+",") {
			t.Errorf("the volume is not mounted %s: %s", option, line)
		}
	}
	if got := c.exec("cp /bin/busybox /all/x && /all/x true 2>&1 || true"); !strings.Contains(got, "denied") {
		t.Errorf("a program of the volume runs: %q", got)
	}
}
