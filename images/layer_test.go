package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"tare/spec"
)

// mountLayers mounts the layers as a container would see them, detached, and returns the root.
func mountLayers(t *testing.T, dirs []string) *os.Root {
	t.Helper()
	target := t.TempDir()
	if len(dirs) == 1 {
		dirs = append(dirs, t.TempDir()) // overlayfs wants two without an upper one
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
	root, err := os.OpenRoot(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// rootOf pulls an image of these layers and mounts it.
func rootOf(t *testing.T, layers ...v1.Layer) *os.Root {
	t.Helper()
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	img := mustPull(t, s, r.push(t, "app:v1", imageOf(t, layers...)))
	return mountLayers(t, acquire(t, s, img.ID))
}

func wantAbsent(t *testing.T, root *os.Root, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := root.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it absent", name, err)
		}
	}
}

func wantContent(t *testing.T, root *os.Root, name, want string) {
	t.Helper()
	b, err := root.ReadFile(name)
	if err != nil || string(b) != want {
		t.Errorf("%s: %q, %v, want %q", name, b, err, want)
	}
}

func TestWhiteouts(t *testing.T) {
	root := rootOf(t,
		layerOf(t, entry{name: "gone", body: "x"}, entry{name: "stays", body: "x"},
			entry{name: "d/", dir: true, mode: 0o755}, entry{name: "d/old", body: "x"},
			entry{name: "early", body: "x"}, entry{name: ".wh.early"}),
		layerOf(t, entry{name: ".wh.gone"},
			entry{name: "d/", dir: true, mode: 0o755}, entry{name: "d/.wh..wh..opq"}, entry{name: "d/new", body: "y"}),
		layerOf(t, entry{name: "gone2", body: "z"}))
	wantAbsent(t, root, "gone", "d/old", "early", ".wh.gone", "d/.wh..wh..opq")
	wantContent(t, root, "stays", "x")
	wantContent(t, root, "d/new", "y")
}

func TestLinksAndAttributes(t *testing.T) {
	root := rootOf(t, layerOf(t,
		entry{name: "a", body: "x", mode: 0o4755, xattr: map[string]string{"user.k": "v", "trusted.overlay.redirect": "/etc"}},
		entry{name: "b", link: "a", hard: true, mode: 0o4755},
		entry{name: "c", link: "a"}))
	a, err := root.Stat("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := root.Stat("b")
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(a, b) || a.Mode()&os.ModeSetuid == 0 {
		t.Errorf("hard link is another file, or mode %s lacks setuid", a.Mode())
	}
	f, err := root.Open("c")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	value := make([]byte, 8)
	n, err := unix.Fgetxattr(int(f.Fd()), "user.k", value)
	if err != nil || string(value[:n]) != "v" {
		t.Errorf("attribute %q, %v", value[:max(n, 0)], err)
	}
}

func TestOverlayAttributesAreNotTheImages(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	img := mustPull(t, s, r.push(t, "app:v1", imageOf(t, layerOf(t,
		entry{name: "d/", dir: true, mode: 0o755, xattr: map[string]string{"trusted.overlay.opaque": "y"}}))))
	dir := filepath.Join(acquire(t, s, img.ID)[0], "d")
	if _, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("opaque attribute from the tar: %v, want none", err)
	}
}

// The upper layer's tar has no entry for tmp, nor for opt and what is in it.
func TestDirectoriesWithoutEntryInherit(t *testing.T) {
	root := rootOf(t,
		layerOf(t, entry{name: "tmp/", dir: true, mode: 0o1777}, entry{name: "opt/", dir: true, mode: 0o750}),
		layerOf(t, entry{name: "other", body: "x"}),
		layerOf(t, entry{name: "tmp/file", body: "x"}, entry{name: "opt/new/file", body: "x"}))
	for name, want := range map[string]os.FileMode{
		"tmp": os.ModeDir | os.ModeSticky | 0o777, "opt": os.ModeDir | 0o750, "opt/new": os.ModeDir | 0o755,
	} {
		st, err := root.Stat(name)
		if err != nil || st.Mode() != want {
			t.Errorf("%s: %s, %v, want %s", name, st.Mode(), err, want)
		}
	}
}

func TestCompressions(t *testing.T) {
	plain := tarOf(t, entry{name: "f", body: strings.Repeat("content ", 4096)})
	for name, opt := range map[string]tarball.LayerOption{
		"zstd": tarball.WithCompression(compression.ZStd),
		"gzip": tarball.WithCompression(compression.GZip),
	} {
		t.Run(name, func(t *testing.T) {
			root := rootOf(t, layerFrom(t, plain, opt))
			if st, err := root.Stat("f"); err != nil || st.Size() != 8*4096 {
				t.Errorf("unpacked file: %v, %v", st, err)
			}
		})
	}
}

// Each case tries to write the canary, which lies beside the store's own directories.
func TestTarStaysInside(t *testing.T) {
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 24)
	for name, entries := range map[string][]entry{
		"dotdot":              {{name: up + canary[1:], body: "dead"}},
		"absolute name":       {{name: canary, body: "dead"}},
		"absolute symlink":    {{name: "l", link: outside}, {name: "l/canary", body: "dead"}},
		"relative symlink":    {{name: "l", link: up + outside[1:]}, {name: "l/canary", body: "dead"}},
		"symlink to the file": {{name: "l", link: canary}, {name: "l", body: "dead"}},
		"hard link":           {{name: "h", link: canary, hard: true}, {name: "h", body: "dead"}},
		"whiteout":            {{name: "l", link: outside}, {name: "l/.wh.canary"}},
	} {
		for _, stacked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				layers := []v1.Layer{layerOf(t, entries...)}
				if stacked { // the other whiteout conversion, and directories that inherit
					layers = append([]v1.Layer{layerOf(t, entry{name: "base", body: "x"}, entry{name: "l", link: outside})}, layers...)
				}
				r, s := newRegistryServer(t, nil), openStore(t, Options{})
				// An error is as good as a file inside: only the outside counts.
				s.Pull(context.Background(), spec.Pull{Image: r.push(t, "evil:v1", imageOf(t, layers...))})
				left, err := os.ReadDir(outside)
				if err != nil || len(left) != 1 || contentOf(t, canary) != "alive" {
					t.Errorf("outside now: %v, %v", left, err)
				}
			})
		}
	}
}

func TestEmptyImage(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	img := mustPull(t, s, r.push(t, "scratch:v1", imageOf(t)))
	dirs := acquire(t, s, img.ID)
	if len(dirs) != 1 {
		t.Fatalf("layers %v, want one empty directory", dirs)
	}
	if in, err := os.ReadDir(dirs[0]); err != nil || len(in) != 0 {
		t.Errorf("in it: %v, %v", in, err)
	}
}
