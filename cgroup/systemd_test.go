package cgroup

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestSystemdRefused: where the driver cannot work, whoever asks for it is told why, and who asks for none
// in particular gets the other.
func TestSystemdRefused(t *testing.T) {
	cause := ProbeSystemd(t.Context())
	if cause == nil {
		t.Skip("it works here")
	}
	log := slog.New(slog.DiscardHandler)
	_, err := Open(t.Context(), DriverSystemd, "", log)
	if !errdefs.IsFailedPrecondition(err) && !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "systemd") {
		t.Errorf("%v, want FailedPrecondition or Unavailable, as of %v", err, cause)
	}
	tree, err := Open(t.Context(), DriverAuto, testRoot, log)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if tree.Driver() != DriverCgroupfs {
		t.Errorf("driver %q", tree.Driver())
	}
}

// TestJobFailure: what systemd says of a unit it cannot start comes through.
func TestJobFailure(t *testing.T) {
	if err := ProbeSystemd(t.Context()); err != nil {
		t.Skip(err)
	}
	s, err := dialSystemd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fails := []unitProperty{property("Type", "oneshot"), property("ExecStart", []execCommand{{"/no/such/program", []string{"x"}, false}}), property("CollectMode", "inactive-or-failed")}
	for name, c := range map[string]struct {
		properties []unitProperty
		words      string
	}{
		"refused":        {[]unitProperty{property("NoSuchProperty", true)}, "NoSuchProperty"},
		"does not start": {fails, "job"},
	} {
		err := s.startTransient(t.Context(), "taretest-"+strings.ReplaceAll(name, " ", "-")+".service", c.properties, []transientUnit{})
		if err == nil || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), "StartTransientUnit") {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(err)
	}
}
