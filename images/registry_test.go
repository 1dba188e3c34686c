package images

import (
	"archive/tar"
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"

	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tare/spec"
)

// testRegistry is a real registry in this process. wrap, if set, stands before every request.
type testRegistry struct {
	host string // 127.0.0.1:port
}

func newRegistryServer(t testing.TB, wrap func(http.Handler) http.Handler) testRegistry {
	t.Helper()
	h := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return testRegistry{host: u.Host}
}

// push uploads what (an image or an index) and returns its reference.
func (r testRegistry) push(t testing.TB, repoTag string, what remote.Taggable) string {
	t.Helper()
	ref := r.host + "/" + repoTag
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	switch w := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, w)
	case v1.Image:
		err = remote.Write(tag, w)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// entry is one member of a layer's tar.
type entry struct {
	name  string
	body  string // of a regular file
	link  string // target: a symbolic link, or a hard link if hard
	hard  bool
	dir   bool
	mode  int64
	xattr map[string]string
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.body)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		switch {
		case e.dir:
			h.Typeflag = tar.TypeDir
		case e.hard:
			h.Typeflag, h.Linkname = tar.TypeLink, e.link
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		for k, v := range e.xattr {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layerOf makes a gzip layer.
func layerOf(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	return layerFrom(t, tarOf(t, entries...))
}

func layerFrom(t testing.TB, plain []byte, opts ...tarball.LayerOption) v1.Layer {
	t.Helper()
	opts = append(opts, tarball.WithMediaType(types.OCILayer))
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(plain)), nil
	}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageOf makes an image for this machine, the lowest layer first.
func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	return imageFor(t, v1.Platform{OS: "linux", Architecture: goarch}, v1.Config{}, layers...)
}

func imageFor(t testing.TB, p v1.Platform, c v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Config: c,
		Created: v1.Time{Time: time.Unix(1700000000, 0)},
		RootFS:  v1.RootFS{Type: "layers"},
	})
	if err == nil {
		img, err = mutate.AppendLayers(img, layers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// idOf returns what the store must call the image.
func idOf(t testing.TB, img v1.Image) spec.ImageID {
	t.Helper()
	h, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return spec.ImageID(h.String())
}

func digestOf(t testing.TB, d interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := d.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

const goarch = runtime.GOARCH
