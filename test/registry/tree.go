package registry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time stamp of every file, so that digests depend on content alone.
var epoch = time.Unix(0, 0).UTC()

// A tree collects the entries of one layer in the order they are written. Parent
// directories that were not added are written as 0755 root directories. The first
// error sticks and is reported by layer.
type tree struct {
	headers []*tar.Header
	data    [][]byte
	known   map[string]bool
	err     error
}

func newTree() *tree { return &tree{known: map[string]bool{".": true}} }

func (t *tree) add(h *tar.Header, data []byte) {
	h.ModTime, h.Format = epoch, tar.FormatPAX
	t.headers = append(t.headers, h)
	t.data = append(t.data, data)
}

// raw adds an entry as it is: for names a well-behaved archive does not have.
func (t *tree) raw(h *tar.Header, data []byte) {
	h.Size = int64(len(data))
	t.add(h, data)
}

// parents adds the missing directories above name.
func (t *tree) parents(name string) {
	dir := path.Dir(name)
	if t.known[dir] {
		return
	}
	t.parents(dir)
	t.dir(dir, 0o755)
}

func (t *tree) dir(name string, mode int64) {
	if t.known[name] {
		return
	}
	t.parents(name)
	t.known[name] = true
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (t *tree) file(name string, mode int64, data []byte) {
	t.ownedFile(name, mode, 0, 0, data)
}

func (t *tree) ownedFile(name string, mode int64, uid, gid int, data []byte) {
	t.parents(name)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: uid, Gid: gid, Size: int64(len(data))}
	t.add(h, data)
}

func (t *tree) symlink(name, target string) {
	t.parents(name)
	t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// hardLink makes name another name of target, which is relative to the root.
func (t *tree) hardLink(name, target string) {
	t.parents(name)
	t.add(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755}, nil)
}

// whiteout hides name of the layers below (image-spec, layer.md, "Whiteouts").
func (t *tree) whiteout(name string) {
	t.file(path.Join(path.Dir(name), ".wh."+path.Base(name)), 0o644, nil)
}

// opaque hides everything the layers below have in dir.
func (t *tree) opaque(dir string) {
	t.file(path.Join(dir, ".wh..wh..opq"), 0o644, nil)
}

// hostFile copies a file of this machine, mode and owner aside.
func (t *tree) hostFile(name, from string, mode int64) {
	data, err := os.ReadFile(from)
	if err != nil {
		t.fail(fmt.Errorf("%w (Debian package %s)", err, packageOf(from)))
		return
	}
	t.file(name, mode, data)
}

// program copies a program of this machine together with its loader and the
// shared libraries it needs, those already in the tree excepted.
func (t *tree) program(name, from string, mode int64) {
	t.hostFile(name, from, mode)
	if t.err != nil {
		return
	}
	libs, err := sharedObjects(from)
	if err != nil {
		t.fail(fmt.Errorf("shared objects of %s: %w", from, err))
		return
	}
	for _, lib := range libs {
		inside := strings.TrimPrefix(lib, "/")
		if !t.known[inside] {
			t.known[inside] = true
			t.hostFile(inside, lib, 0o755)
		}
	}
}

func (t *tree) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// archive is the uncompressed tar.
func (t *tree) archive() ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i, h := range t.headers {
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("tar entry %s: %w", h.Name, err)
		}
		if _, err := w.Write(t.data[i]); err != nil {
			return nil, fmt.Errorf("tar entry %s: %w", h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// layer compresses the tree. Its media type is the OCI one of that compression.
func (t *tree) layer(c compression.Compression) (v1.Layer, error) {
	data, err := t.archive()
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	media := map[compression.Compression]types.MediaType{
		compression.None: types.OCIUncompressedLayer,
		compression.GZip: types.OCILayer,
		compression.ZStd: types.OCILayerZStd,
	}
	// Level 1: these layers cross loopback once, building them is what takes time.
	return tarball.LayerFromOpener(open, tarball.WithCompression(c), tarball.WithCompressionLevel(1),
		tarball.WithMediaType(media[c]), tarball.WithCompressedCaching)
}
