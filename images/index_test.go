package images

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"tare/spec"
)

func TestNames(t *testing.T) {
	x := newIndex(map[string]spec.ImageID{
		"docker.io/library/busybox:latest":                            "sha256:cafe00000001",
		"docker.io/library/busybox@sha256:" + strings.Repeat("0", 64): "sha256:cafe00000001",
		"registry.k8s.io/pause:3.9":                                   "sha256:cafe000000021",
		"registry.k8s.io/pause:3.10":                                  "sha256:cafe000000022",
	}, map[spec.ImageID]spec.Image{
		"sha256:cafe00000001":  {ID: "sha256:cafe00000001"},
		"sha256:cafe000000021": {ID: "sha256:cafe000000021"},
		"sha256:cafe000000022": {ID: "sha256:cafe000000022"},
	}, pins{})
	for ref, want := range map[string]spec.ImageID{
		"busybox":                   "sha256:cafe00000001",
		"busybox:latest":            "sha256:cafe00000001",
		"library/busybox":           "sha256:cafe00000001",
		"docker.io/busybox":         "sha256:cafe00000001",
		"cafe00000001":              "sha256:cafe00000001",
		"cafe000000021":             "sha256:cafe000000021",
		"sha256:cafe000000021":      "sha256:cafe000000021",
		"registry.k8s.io/pause:3.9": "sha256:cafe000000021",
		"busybox:1.36":              "",
		"cafe00000002":              "", // ambiguous
		"cafe0000000":               "", // may be a name
		"":                          "",
		"UPPER case":                "",
		"busybox@sha256:" + strings.Repeat("0", 64): "sha256:cafe00000001",
	} {
		if got, ok := x.find(ref); got.ID != want || ok != (want != "") {
			t.Errorf("find %q: %q, want %q", ref, got.ID, want)
		}
	}
}

func TestPins(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		entry, ref string
		pinned     bool
	}{
		{"busybox", "docker.io/library/busybox:latest", true},
		{"busybox", "docker.io/library/busybox:1.36", false},
		{"busybox" + digest, "docker.io/library/busybox" + digest, true},
		{"busybox:*", "docker.io/library/busybox:1.36", true},
		{"docker.io/library/busy*", "docker.io/library/busybox:1.36", true},
		{"registry.k8s.io/*", "registry.k8s.io/a/b:c", true},
		{"registry.k8s.io/*", "registryXk8s.io/a:c", false},
		{"*/pause:*", "registry.k8s.io/pause:3.10", true},
		{"*/pause:*", "registry.k8s.io/paused:3.10", false},
		{"pause*", "registry.k8s.io/pause:3.10", false},
		{"*", "registry.k8s.io/pause" + digest, true},
	} {
		p, err := newPins([]string{tt.entry})
		if err != nil || p.hold(tt.ref) != tt.pinned {
			t.Errorf("%q pins %s: %t, %v, want %t", tt.entry, tt.ref, p.hold(tt.ref), err, tt.pinned)
		}
	}
	_, err := newPins([]string{"good", "not A reference"})
	if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "images.pinned[1]") {
		t.Errorf("bad entry: %v", err)
	}
}
