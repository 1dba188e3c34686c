package images

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"tare/spec"
)

// openStore opens a store in a directory of the test's own and closes it with the test.
func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	s, err := Open(context.Background(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPull(t testing.TB, s *Store, ref string) spec.Image {
	t.Helper()
	img, err := s.Pull(context.Background(), spec.Pull{Image: ref})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// acquire returns the layers and releases them with the test.
func acquire(t *testing.T, s *Store, id spec.ImageID) []string {
	t.Helper()
	dirs, err := s.Acquire(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Release(id) })
	return dirs
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPullByTagAndDigest(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	config := v1.Config{
		Env: []string{"A=1"}, User: "daemon", Entrypoint: []string{"/bin/a"}, Cmd: []string{"b"},
		WorkingDir: "/w", StopSignal: "SIGINT",
	}
	img := imageFor(t, v1.Platform{OS: "linux", Architecture: goarch}, config,
		layerOf(t, entry{name: "low", body: "1"}), layerOf(t, entry{name: "high", body: "2"}))
	ref := r.push(t, "app:v1", img)
	digest := r.host + "/app@" + digestOf(t, img)

	got := mustPull(t, s, ref)
	if got.ID != idOf(t, img) {
		t.Errorf("id %s, want the configuration's digest %s", got.ID, idOf(t, img))
	}
	if !slices.Equal(got.Tags, []string{ref}) || !slices.Equal(got.Digests, []string{digest}) {
		t.Errorf("tags %v, digests %v", got.Tags, got.Digests)
	}
	c := got.Config
	if !slices.Equal(c.Env, config.Env) || c.User != "daemon" || !slices.Equal(c.Entrypoint, config.Entrypoint) ||
		!slices.Equal(c.Cmd, config.Cmd) || c.WorkingDir != "/w" || c.StopSignal != "SIGINT" {
		t.Errorf("configuration %+v", c)
	}
	if got.Size <= 0 || got.Created.Unix() != 1700000000 {
		t.Errorf("size %d, created %s", got.Size, got.Created)
	}
	dirs := acquire(t, s, got.ID)
	if len(dirs) != 2 || contentOf(t, filepath.Join(dirs[0], "high")) != "2" || contentOf(t, filepath.Join(dirs[1], "low")) != "1" {
		t.Errorf("layers %v, want the topmost first", dirs)
	}

	other := openStore(t, Options{})
	got = mustPull(t, other, digest)
	if len(got.Tags) != 0 || !slices.Equal(got.Digests, []string{digest}) {
		t.Errorf("pulled by digest: tags %v, digests %v", got.Tags, got.Digests)
	}
	both := ref + "@" + digestOf(t, img)
	if again := mustPull(t, other, both); len(again.Tags) != 0 || again.ID != got.ID {
		t.Errorf("pulled by tag and digest: %+v", again)
	}
	for _, by := range []string{string(got.ID), strings.TrimPrefix(string(got.ID), "sha256:"), string(got.ID)[:19], digest, both} {
		if found, err := other.Get(by); err != nil || found.ID != got.ID {
			t.Errorf("get %q: %v, %v", by, found.ID, err)
		}
	}
}
