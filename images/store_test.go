package images

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"tare/spec"
)

// reopen closes the store and opens it again, as a daemon that restarts does.
func reopen(t *testing.T, s *Store, o Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openUnclosed(t, o)
}

func openUnclosed(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantGone waits for the janitor, which has no other sign of being done than its work.
func wantGone(t *testing.T, dirs []string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := slices.DeleteFunc(slices.Clone(dirs), func(d string) bool {
			_, err := os.Stat(d)
			return errors.Is(err, os.ErrNotExist)
		})
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("layers %v are still there", left)
		}
	}
}

func wantThere(t *testing.T, dirs []string) {
	t.Helper()
	for _, d := range dirs {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("layer: %v", err)
		}
	}
}

func remove(t *testing.T, s *Store, ref string) {
	t.Helper()
	if err := s.Remove(context.Background(), ref); err != nil {
		t.Error(err)
	}
}

func TestMovedTag(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	base := layerOf(t, entry{name: "base", body: "x"})
	first := mustPull(t, s, r.push(t, "app:v1", imageOf(t, base)))
	ref := r.push(t, "app:v1", imageOf(t, base, layerOf(t, entry{name: "more", body: "x"})))
	second := mustPull(t, s, ref)
	if got, err := s.Get(ref); err != nil || got.ID != second.ID {
		t.Errorf("tag leads to %s, %v", got.ID, err)
	}
	old, err := s.Get(string(first.ID))
	if err != nil || len(old.Tags) != 0 || !slices.Equal(old.Digests, first.Digests) {
		t.Errorf("image that lost its tag: %+v, %v, want it listed by digest only", old, err)
	}
	if len(s.List()) != 2 {
		t.Errorf("images %v, want both", s.List())
	}
	remove(t, s, ref)
	if got := mountLayers(t, acquire(t, s, first.ID)); got != nil {
		wantContent(t, got, "base", "x") // shared with what was removed
	}
}

func TestTwoTags(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	img := imageOf(t, layerOf(t, entry{name: "f", body: "x"}))
	a, b := r.push(t, "app:a", img), r.push(t, "app:b", img)
	mustPull(t, s, a)
	both := mustPull(t, s, b)
	if !slices.Equal(both.Tags, []string{a, b}) || len(both.Digests) != 1 || len(s.List()) != 1 {
		t.Errorf("two tags of one image: %+v", both)
	}
	remove(t, s, a)
	wantNothingLeft(t, s)
	remove(t, s, a)
	remove(t, s, "never/was:here")
	remove(t, s, "not A reference")
}

func TestConcurrentRemove(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	for range 3 {
		img := mustPull(t, s, ref)
		var done sync.WaitGroup
		for i := range 8 {
			done.Go(func() {
				if dirs, err := s.Acquire(context.Background(), img.ID); err == nil {
					wantThere(t, dirs)
					s.Release(img.ID)
				}
				remove(t, s, []string{ref, string(img.ID)}[i%2])
			})
		}
		done.Wait()
	}
	if err := s.Sweep(context.Background()); err != nil { // the last release may still be at work
		t.Error(err)
	}
	wantNothingLeft(t, s)
}

func TestLayersOutliveTheirImage(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "a", body: "x"}), layerOf(t, entry{name: "b", body: "x"})))
	img := mustPull(t, s, ref)
	first, _ := s.Acquire(context.Background(), img.ID)
	again, _ := s.Acquire(context.Background(), img.ID)
	if len(first) != 2 || !slices.Equal(first, again) {
		t.Fatalf("layers %v, then %v", first, again)
	}
	remove(t, s, ref)
	s.Release(img.ID)
	wantThere(t, first)
	if _, err := s.Get(ref); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("removed image: %v", err)
	}
	s.Release(img.ID)
	wantGone(t, first)
	if _, err := s.Acquire(context.Background(), img.ID); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("acquire of removed layers: %v", err)
	}
	s.Release(img.ID) // once too often
}

// What the last pull said is told until the next one, across restarts.
func TestWhatThePullSaid(t *testing.T) {
	r, o := newRegistryServer(t, nil), Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	img := imageOf(t, layerOf(t, entry{name: "f", body: "x"}))
	one, two := r.push(t, "app:one", img), r.push(t, "app:two", img)
	long := map[string]string{"pod": strings.Repeat("annotation ", 20_000), "": "no key"}
	for _, p := range []spec.Pull{
		{Image: one},
		{Image: one, Handler: "tare", Annotations: map[string]string{"a": "1", "b": ""}},
		{Image: two, Annotations: map[string]string{"a": "2"}},
		{Image: one, Handler: "other", Annotations: long},
		{Image: two},
	} {
		got, err := s.Pull(t.Context(), p)
		if err != nil || got.Handler != p.Handler || !maps.Equal(got.Annotations, p.Annotations) {
			t.Fatalf("pull %+v: %+v, %v", p, got, err)
		}
		s = reopen(t, s, o)
		if got, err := s.Get(string(got.ID)); err != nil || got.Handler != p.Handler || !maps.Equal(got.Annotations, p.Annotations) {
			t.Errorf("after %+v and a restart: %+v, %v", p, got, err)
		}
	}
	defer s.Close()
}

// One image under names of several repositories: removing one removes all (api.proto, RemoveImage).
func TestRemoveAcrossRepositories(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{Pinned: []string{"*/a:*"}})
	img := imageOf(t, layerOf(t, entry{name: "f", body: "x"}))
	names := []string{r.push(t, "a:v1", img), r.push(t, "b/c:v2", img)}
	byDigest := r.host + "/b/c@" + digestOf(t, img)
	for _, by := range []string{names[0], names[1], byDigest, string(idOf(t, img)), string(idOf(t, img))[7:19]} {
		mustPull(t, s, names[0])
		both := mustPull(t, s, names[1])
		if !slices.Equal(both.Tags, names) || len(both.Digests) != 2 || !both.Pinned {
			t.Errorf("two names of one image: %+v", both)
		}
		remove(t, s, by) // a pin is for the kubelet, not for who asks
		wantNothingLeft(t, s)
	}
}

func TestRestart(t *testing.T) {
	ctx, r, o := context.Background(), newRegistryServer(t, nil), Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	kept := mustPull(t, s, r.push(t, "kept:v1", imageOf(t, layerOf(t, entry{name: "k", body: "x"}))))
	used := mustPull(t, s, r.push(t, "used:v1", imageOf(t, layerOf(t, entry{name: "u", body: "x"}))))
	idle := mustPull(t, s, r.push(t, "idle:v1", imageOf(t, layerOf(t, entry{name: "i", body: "x"}))))
	layers := map[spec.ImageID][]string{}
	for _, img := range []spec.Image{kept, used, idle} {
		layers[img.ID], _ = s.Acquire(ctx, img.ID)
	}
	remove(t, s, used.Tags[0])
	remove(t, s, idle.Tags[0])

	s = reopen(t, s, o)
	defer s.Close()
	if got := s.List(); len(got) != 1 || got[0].ID != kept.ID || !slices.Equal(got[0].Tags, kept.Tags) {
		t.Errorf("images after restart: %+v", got)
	}
	dirs, err := s.Acquire(ctx, used.ID) // recovery finds a container that runs on it
	if err != nil || !slices.Equal(dirs, layers[used.ID]) {
		t.Errorf("layers of a removed image: %v, %v", dirs, err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	wantGone(t, layers[idle.ID])
	wantThere(t, slices.Concat(layers[kept.ID], layers[used.ID]))
	s.Release(used.ID)
	wantGone(t, layers[used.ID])
	remove(t, s, string(kept.ID))
	wantNothingLeft(t, s)
}

// What a crash leaves: a lease, a layer half written, a download, and things the database has
// never heard of.
func TestOpenRemovesUnfinished(t *testing.T) {
	o := Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	ctx := s.engine.scope(context.Background())
	l, err := s.engine.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.engine.layers.Prepare(leases.WithLease(ctx, l.ID), "half", ""); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{
		"content/blobs/sha256/" + strings.Repeat("a", 64), "content/ingest/x/data", "overlay/snapshots/new-1/fs/f",
	} {
		path := filepath.Join(o.Root, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s, o)
	defer s.Close()
	wantNothingLeft(t, s)
}

func TestOpenTwice(t *testing.T) {
	s := openStore(t, Options{})
	_, err := Open(context.Background(), Options{Root: s.engine.root}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("second open: %v, want ErrUnavailable", err)
	}
}

// blobPath is where an image's configuration is.
func blobPath(o Options, id spec.ImageID) string {
	return filepath.Join(o.Root, "content/blobs/sha256", strings.TrimPrefix(string(id), "sha256:"))
}

func TestDamagedImageIsDropped(t *testing.T) {
	for name, damage := range map[string]func(layer, blob string) error{
		"layer gone":     func(layer, _ string) error { return os.RemoveAll(layer) },
		"blob gone":      func(_, blob string) error { return os.Remove(blob) },
		"blob cut short": func(_, blob string) error { return os.Truncate(blob, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			r, o := newRegistryServer(t, nil), Options{Root: t.TempDir()}
			s := openUnclosed(t, o)
			ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
			img := mustPull(t, s, ref)
			if err := damage(acquire(t, s, img.ID)[0], blobPath(o, img.ID)); err != nil {
				t.Fatal(err)
			}
			s = reopen(t, s, o)
			defer s.Close()
			if got := s.List(); len(got) != 0 {
				t.Fatalf("images %+v, want the damaged one gone", got)
			}
			if err := s.Sweep(context.Background()); err != nil {
				t.Fatal(err)
			}
			wantThere(t, acquire(t, s, mustPull(t, s, ref).ID))
		})
	}
}

func TestUsage(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	small, _ := s.Usage(context.Background())
	mustPull(t, s, r.push(t, "app:v1", imageOf(t, layerOf(t, noise("f", 1<<20)))))
	u, err := s.Usage(context.Background())
	if err != nil || u.Bytes < small.Bytes+1<<20 || u.Inodes == 0 || u.Mountpoint != s.engine.root || u.Time.IsZero() {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// The kubelet removes images because the disk is full.
func TestRemoveOnFullDisk(t *testing.T) {
	root := smallDisk(t, "size=16m")
	o := Options{Root: root}
	r, s := newRegistryServer(t, nil), openUnclosed(t, o)
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, noise("f", 4<<20))))
	mustPull(t, s, ref)
	fill, err := os.Create(filepath.Join(root, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for chunk := make([]byte, 4096); err == nil; {
		_, err = fill.Write(chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := s.Pull(context.Background(), spec.Pull{Image: r.push(t, "more:v1", imageOf(t, layerOf(t, noise("g", 1<<20))))}); !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("pull on a full disk: %v", err)
	}
	s = reopen(t, s, o)
	defer s.Close()
	remove(t, s, ref)
	wantNothingLeft(t, s)
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	r := newRegistryServer(t, nil)
	before := runtime.NumGoroutine()
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	remote.DefaultTransport.(*http.Transport).CloseIdleConnections() // the push's, and those it is still dialing
	s := openUnclosed(t, Options{Root: t.TempDir()})
	mustPull(t, s, ref)
	remove(t, s, ref)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The registry's half of a closed connection ends when it has read the end.
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
