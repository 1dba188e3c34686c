package selinux

import (
	"testing"

	"github.com/containerd/errdefs"

	"tare/spec"
)

func TestChange(t *testing.T) {
	usual := spec.Labels{Process: "system_u:system_r:container_t:s0:c1,c2", Mount: "system_u:object_r:container_file_t:s0:c1,c2"}
	for _, tt := range []struct {
		name    string
		base    spec.Labels
		options string
		want    spec.Labels
		fail    bool
	}{
		{name: "none", base: usual, want: usual},
		{name: "type", base: usual, options: "::spc_t:", want: spec.Labels{Process: "system_u:system_r:spc_t:s0:c1,c2", Mount: usual.Mount}},
		{name: "level", base: usual, options: ":::s0:c8,c9", want: spec.Labels{
			Process: "system_u:system_r:container_t:s0:c8,c9", Mount: "system_u:object_r:container_file_t:s0:c8,c9",
		}},
		{name: "level range", base: usual, options: ":::s0-s0:c0.c1023", want: spec.Labels{
			Process: "system_u:system_r:container_t:s0-s0:c0.c1023", Mount: "system_u:object_r:container_file_t:s0-s0:c0.c1023",
		}},
		{name: "user", base: usual, options: "me_u:::", want: spec.Labels{
			Process: "me_u:system_r:container_t:s0:c1,c2", Mount: "me_u:object_r:container_file_t:s0:c1,c2",
		}},
		{name: "role", base: usual, options: ":other_r::", want: spec.Labels{Process: "system_u:other_r:container_t:s0:c1,c2", Mount: usual.Mount}},
		{name: "everything", base: usual, options: "a_u:b_r:c_t:s0:c5", want: spec.Labels{
			Process: "a_u:b_r:c_t:s0:c5", Mount: "a_u:object_r:container_file_t:s0:c5",
		}},
		{name: "a policy without levels", base: spec.Labels{Process: "u:r:t", Mount: "u:object_r:f"}, options: "::x_t:", want: spec.Labels{Process: "u:r:x_t", Mount: "u:object_r:f"}},
		{name: "no policy for containers"},
		{name: "no policy for containers, all given", options: "a_u:b_r:c_t:s0", want: spec.Labels{Process: "a_u:b_r:c_t:s0"}},
		{name: "no policy for containers, type", options: "::c_t:", fail: true},
		{name: "no policy for containers, level", options: ":::s0", fail: true},
	} {
		got, err := change(tt.base, tt.options)
		if got != tt.want || tt.fail != errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// TestOff: what a request asks for means nothing then, and touches nothing.
func TestOff(t *testing.T) {
	l := New(false)
	pod, err := l.Pod("::nonsense_t:")
	if pod != (spec.Labels{}) || err != nil {
		t.Errorf("pod: %+v, %v", pod, err)
	}
	c, err := l.Container(spec.Labels{Process: "a:b:c", Mount: "a:b:d"}, &spec.Security{SELinux: "::nonsense_t:"})
	if c != (spec.Labels{}) || err != nil {
		t.Errorf("container: %+v, %v", c, err)
	}
	if err := l.Relabel("/no/such/path", spec.Labels{Mount: "a:b:c"}); err != nil {
		t.Error(err)
	}
	if err := l.Keep(spec.Labels{Process: "a:b:c:s0:c1"}); err != nil {
		t.Error(err)
	}
	l.Release(spec.Labels{Process: "a:b:c:s0:c1"})
}
