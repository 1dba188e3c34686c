package main

import (
	"os"
	"testing"

	"tare/lifecycle"
	"tare/nsutil"
)

// TestFeaturesAreProbed compares what the daemon will say with what the probes find here, and with a
// root where no layers can be.
func TestFeaturesAreProbed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	f := features()
	for _, tt := range []struct {
		name  string
		got   bool
		probe func() error
	}{
		{"user_namespaces_host_network", f.UserNamespacesHostNetwork, nsutil.ProbeUserNSHostNetwork},
		{"mount_options", f.MountOptions, nsutil.ProbeMountOptions},
	} {
		if err := tt.probe(); tt.got != (err == nil) {
			t.Errorf("%s is %v, the probe says %v", tt.name, tt.got, err)
		}
	}
	for _, root := range []string{t.TempDir(), "/proc"} {
		idmapped, rro, nested := nsutil.ProbeOverlayIDMapped(root) == nil, nsutil.ProbeRecursiveReadonly() == nil, nsutil.ProbeNestedUserNS() == nil
		d := &daemon{settings: settings{Root: root}, exits: newExits()}
		for _, h := range d.handlers(t.Context()) {
			want := idmapped && (nested || !h.Isolated)
			if h.UserNamespaces.Now() != want || h.RecursiveReadonly != rro || h.Isolated != (h.Name == lifecycle.IsolatedHandler) {
				t.Errorf("handler with layers below %s: %+v; idmapped %v, recursive read-only %v, nested %v", root, h, idmapped, rro, nested)
			}
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
}
