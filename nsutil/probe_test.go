package nsutil

import (
	"os"
	"testing"
)

// TestProbes runs every probe on this kernel: whatever one finds, it must leave nothing behind and
// find the same again.
func TestProbes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for _, p := range []struct {
		name  string
		probe func() error
	}{
		{"clone of a detached mount", ProbeCloneDetached},
		{"recursive read-only", ProbeRecursiveReadonly},
		{"overlay", func() error { return ProbeOverlay(dir) }},
		{"idmapped overlay", func() error { return ProbeOverlayIDMapped(dir) }},
		{"user namespace", ProbeUserNS},
		{"nested user namespace", ProbeNestedUserNS},
		{"the host's network in a user namespace", ProbeUserNSHostNetwork},
		{"mount options", ProbeMountOptions},
		{"time namespace", ProbeTimeNS},
		{"pidfd exit", ProbePidfdExit},
		{"descriptors of other processes", ProbePidfdGetfd},
		{"seccomp", ProbeSeccomp},
		{"oom score", ProbeOOMScore},
	} {
		t.Run(p.name, func(t *testing.T) {
			fds := openFDs(t)
			first, second := p.probe(), p.probe()
			t.Log(first)
			if (first == nil) != (second == nil) {
				t.Errorf("first %v, then %v", first, second)
			}
			if n := openFDs(t); n != fds {
				t.Errorf("%d descriptors open, %d before", n, fds)
			}
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func openFDs(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
