package apparmor

import (
	"context"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"tare/spec"
)

func TestListed(t *testing.T) {
	const profiles = "/usr/bin/man (enforce)\ntare-default (enforce)\nwith space (complain)\nouter//inner (kill)\n(odd (unconfined)\n"
	for name, want := range map[string]bool{
		"tare-default": true, "/usr/bin/man": true, "with space": true, "outer//inner": true, "(odd": true,
		"tare": false, "with": false, "outer": false, "tare-default (enforce)": false, "": false, "unconfined": false,
	} {
		got, err := listed(strings.NewReader(profiles), name)
		if got != want || err != nil {
			t.Errorf("%q: %t, %v, want %t", name, got, err, want)
		}
	}
}

// TestOff: without AppArmor only what names a profile is refused.
func TestOff(t *testing.T) {
	if Enabled() == nil {
		t.Skip("this host has AppArmor")
	}
	for _, tt := range []struct {
		s    spec.Security
		fail bool
	}{
		{spec.Security{}, false},
		{spec.Security{AppArmor: spec.Profile{Kind: spec.ProfileRuntimeDefault}}, false},
		{spec.Security{AppArmor: spec.Profile{Kind: spec.ProfileUnconfined}}, false},
		{spec.Security{AppArmor: spec.Profile{Kind: spec.ProfileLocalhost, Name: "strict"}}, true},
		{spec.Security{AppArmor: spec.Profile{Kind: spec.ProfileLocalhost, Name: "strict"}, Privileged: true}, true},
	} {
		name, err := New(slog.New(slog.DiscardHandler)).Of(context.Background(), &tt.s)
		if name != "" && !tt.fail || tt.fail != errdefs.IsFailedPrecondition(err) || tt.fail && !strings.Contains(err.Error(), `"strict"`) {
			t.Errorf("%+v: %q, %v", tt.s.AppArmor, name, err)
		}
	}
}

// TestDefaultText has the parser read the default profile; it needs no AppArmor in the kernel for that.
func TestDefaultText(t *testing.T) {
	parser, err := Parser()
	if err != nil {
		t.Skip(err)
	}
	for _, peer := range []string{"", "/usr/bin/tare"} {
		cmd := exec.Command(parser, "--skip-kernel-load", "--skip-cache")
		cmd.Stdin = strings.NewReader(defaultText(peer))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
