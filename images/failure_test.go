package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"tare/spec"
)

// wantNothingLeft asserts that the store holds no blob, no unfinished download, no layer, no lease.
func wantNothingLeft(t *testing.T, s *Store) {
	t.Helper()
	root := s.engine.root
	for _, dir := range []string{"content/blobs/sha256", "content/ingest", "overlay/snapshots"} {
		left, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range left {
			t.Errorf("left behind: %s/%s", dir, e.Name())
		}
	}
	if held, err := s.engine.leases.List(s.engine.scope(context.Background())); err != nil || len(held) != 0 {
		t.Errorf("leases %v, %v, want none", held, err)
	}
	if u, err := s.Usage(context.Background()); err != nil || u.Bytes != 0 || u.Inodes != 0 {
		t.Errorf("usage %+v, %v, want none", u, err)
	}
	if got := s.List(); len(got) != 0 {
		t.Errorf("images %v, want none", got)
	}
}

// wantFailure pulls and asserts class and text of the error, and that nothing is left.
func wantFailure(t *testing.T, s *Store, ref string, class error) {
	t.Helper()
	_, err := s.Pull(context.Background(), spec.Pull{Image: ref})
	if !errors.Is(err, class) {
		t.Errorf("pull %s: %v, want class %v", ref, err, class)
	}
	if err != nil && (!strings.Contains(err.Error(), ref) || strings.Contains(err.Error(), "\n")) {
		t.Errorf("text %q: want one line naming %s", err, ref)
	}
	wantNothingLeft(t, s)
}

// onBlob replaces how one blob is served.
func onBlob(digest string, serve http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest) {
				serve(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// compressed returns a layer's bytes as they are sent.
func compressed(t *testing.T, l v1.Layer) []byte {
	t.Helper()
	rc, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is a file gzip cannot shrink.
func noise(name string, size int) entry {
	b := make([]byte, size)
	src := rand.NewChaCha8([32]byte([]byte("the same bytes in every test run")))
	src.Read(b)
	return entry{name: name, body: string(b)}
}

func TestBadReferences(t *testing.T) {
	s := openStore(t, Options{})
	for _, ref := range []string{"", "repo/UPPER", "a b", "repo@sha256:123", "repo:", "http://host/repo", "/abs"} {
		_, err := s.Pull(context.Background(), spec.Pull{Image: ref})
		if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), ref) {
			t.Errorf("pull %q: %v, want ErrInvalidArgument", ref, err)
		}
	}
	wantNothingLeft(t, s)
}

func TestUnknownImage(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	wantFailure(t, s, r.host+"/nothing:v1", errdefs.ErrNotFound)
}

func TestUnreachableRegistry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close() // the port now refuses
	wantFailure(t, openStore(t, Options{}), host+"/a:v1", errdefs.ErrUnavailable)
	wantFailure(t, openStore(t, Options{}), "no-such-host.invalid/a:v1", errdefs.ErrUnavailable)
}

func TestSilentRegistry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the backlog, never replies
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := openStore(t, Options{ReplyTimeout: 50 * time.Millisecond})
	wantFailure(t, s, l.Addr().String()+"/a:v1", errdefs.ErrUnavailable)
}

func TestBadLayers(t *testing.T) {
	good := layerOf(t, noise("f", 200_000))
	digest := digestOf(t, good)
	whole := compressed(t, good)
	half := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		w.Write(whole[:len(whole)/2])
	}
	cases := map[string]struct {
		serve http.HandlerFunc
		class error
	}{
		"other bytes": {func(w http.ResponseWriter, r *http.Request) {
			b := bytes.Clone(whole)
			b[1000] ^= 1
			w.Write(b)
		}, errdefs.ErrDataLoss},
		"connection lost half-way": {func(w http.ResponseWriter, r *http.Request) {
			half(w)
			panic(http.ErrAbortHandler)
		}, errdefs.ErrUnavailable},
		"complete but short": {func(w http.ResponseWriter, r *http.Request) {
			w.Write(whole[:len(whole)/2])
		}, errdefs.ErrUnavailable},
		"stalled half-way": {func(w http.ResponseWriter, r *http.Request) {
			half(w)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, errdefs.ErrUnavailable},
		"server error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
		}, errdefs.ErrUnavailable},
		"absent": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
		}, errdefs.ErrNotFound},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRegistryServer(t, onBlob(digest, c.serve))
			s := openStore(t, Options{StallTimeout: 100 * time.Millisecond})
			ref := r.push(t, "bad:v1", imageOf(t, layerOf(t, entry{name: "ok", body: "x"}), good))
			wantFailure(t, s, ref, c.class)
		})
	}
}

// What the registry sends is what the manifest says, but it is no layer of this image.
// TestWideWindow pulls layers that say how much of what was unpacked has to be kept in memory: as much as zstd(1) keeps, and more.
func TestWideWindow(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	packed := func(window int) v1.Layer {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
		if err == nil {
			_, err = z.Write(tarOf(t, noise("f", 300_000)))
		}
		if err = errors.Join(err, z.Flush(), z.Close()); err != nil {
			t.Fatal(err)
		}
		return layerFrom(t, b.Bytes())
	}
	mustPull(t, s, r.push(t, "app:usual", imageOf(t, packed(128<<20))))
	wantFailure(t, openStore(t, Options{}), r.push(t, "app:wide", imageOf(t, packed(256<<20))), errdefs.ErrDataLoss)
}

func TestInconsistentImages(t *testing.T) {
	whole := layerOf(t, noise("f", 100_000))
	sent := compressed(t, whole)
	damagedHead := bytes.Clone(sent)
	damagedHead[2000] ^= 0xff
	cases := map[string][]byte{
		"gzip cut off": sent[:50_000],
		"gzip damaged": damagedHead,
		"tar cut off":  tarOf(t, noise("f", 100_000))[:50_000],
		"no tar":       []byte(strings.Repeat("not a tar ", 200)),
		"other tar":    tarOf(t, entry{name: "g", body: "not what the diff id says"}),
	}
	for name, blob := range cases {
		t.Run(name, func(t *testing.T) {
			r, s := newRegistryServer(t, nil), openStore(t, Options{})
			l := wrongLayer{static.NewLayer(blob, types.OCILayer), whole}
			wantFailure(t, s, r.push(t, "bad:v1", imageOf(t, l)), errdefs.ErrDataLoss)
		})
	}
}

// wrongLayer is one blob that claims to be another's uncompressed content.
type wrongLayer struct {
	v1.Layer
	claimed v1.Layer
}

func (w wrongLayer) DiffID() (v1.Hash, error) { return w.claimed.DiffID() }

func TestOtherPlatforms(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	other := imageFor(t, v1.Platform{OS: "linux", Architecture: "s390x"}, v1.Config{}, layerOf(t, entry{name: "f", body: "x"}))
	wantFailure(t, s, r.push(t, "single:v1", other), errdefs.ErrNotFound)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
	})
	wantFailure(t, s, r.push(t, "index:v1", index), errdefs.ErrNotFound)
}

// smallDisk mounts a filesystem of its own for one store.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Detached: the content store's probe for fs-verity leaves a file open until it is
		// garbage collected.
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return root
}

func TestFullDisk(t *testing.T) {
	root := smallDisk(t, "size=10m")
	r, s := newRegistryServer(t, nil), openStore(t, Options{Root: root})
	packed := r.push(t, "packed:v1", imageOf(t, layerOf(t, noise("f", 16<<20))))
	unpacked := r.push(t, "unpacked:v1", imageOf(t, layerOf(t, entry{name: "zeros", body: strings.Repeat("0", 24<<20)})))
	// Neither what is fetched nor what is unpacked fits.
	wantFailure(t, s, packed, errdefs.ErrResourceExhausted)
	wantFailure(t, s, unpacked, errdefs.ErrResourceExhausted)
	small := r.push(t, "small:v1", imageOf(t, layerOf(t, noise("f", 1<<20))))
	mustPull(t, s, small) // the failures have taken nothing
	if err := unix.Mount("", root, "", unix.MS_REMOUNT, "size=96m"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{packed, unpacked} {
		mustPull(t, s, ref)
	}
}
