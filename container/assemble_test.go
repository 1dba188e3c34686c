package container

import (
	"errors"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/security"
	"tare/spec"
)

func TestCommand(t *testing.T) {
	img := ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"a", "b"}}
	for _, tt := range []struct {
		name          string
		command, args []string
		img           ocispec.ImageConfig
		want          []string
	}{
		{"image", nil, nil, img, []string{"/entry", "a", "b"}},
		{"arguments replace cmd", nil, []string{"x"}, img, []string{"/entry", "x"}},
		{"command replaces both", []string{"/c"}, nil, img, []string{"/c"}},
		{"command and arguments", []string{"/c"}, []string{"x"}, img, []string{"/c", "x"}},
		{"image without entrypoint", nil, nil, ocispec.ImageConfig{Cmd: []string{"sh"}}, []string{"sh"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Command(&spec.Container{Command: tt.command, Args: tt.args}, tt.img)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := Command(&spec.Container{}, ocispec.ImageConfig{}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("no command at all gives %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got, err := environment(Request{
		Spec:  &spec.Container{TTY: true, Env: []spec.EnvVar{{Name: "A", Value: "request"}, {Name: "B", Value: ""}, {Name: "A", Value: "last"}}},
		Pod:   &spec.Pod{Hostname: "web-0"},
		Image: ocispec.ImageConfig{Env: []string{"PATH=/image", "A=image"}},
		User:  security.Identity{Home: "/home/me"},
	})
	want := []string{"PATH=/image", "TERM=xterm", "HOME=/home/me", "HOSTNAME=web-0", "A=last", "B="}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestPlacesThatAreRefused(t *testing.T) {
	for _, p := range []string{"/", "/.", "/proc", "/proc/", "/proc/sys", "/x/../proc/self"} {
		if err := checkPlace(p); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("a volume at %q gives %v", p, err)
		}
	}
	for _, p := range []string{"/process", "/data/proc", "/sys/fs/bpf", "/dev/shm"} {
		if err := checkPlace(p); err != nil {
			t.Errorf("a volume at %q gives %v", p, err)
		}
	}
}

func TestHiddenPaths(t *testing.T) {
	userns := &spec.UserNamespace{}
	for _, tt := range []struct {
		name   string
		sec    spec.Security
		user   *spec.UserNamespace
		masked []string
	}{
		{"none asked for", spec.Security{}, nil, defaultMasked},
		{"none asked for in a user namespace: unmasked", spec.Security{}, userns, nil},
		{"asked for", spec.Security{MaskedPaths: []string{"/proc/keys"}}, nil, []string{"/proc/keys"}},
		{"privileged", spec.Security{Privileged: true, MaskedPaths: []string{"/proc/keys"}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Spec: &spec.Container{Security: tt.sec}, Pod: &spec.Pod{Namespaces: spec.Namespaces{User: tt.user}}}
			if masked, _ := hiddenPaths(r); !slices.Equal(masked, tt.masked) {
				t.Errorf("masked %q, want %q", masked, tt.masked)
			}
		})
	}
}
