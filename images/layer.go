package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/crash"
)

// layerWriter unpacks the layers of one pull. It is the applier and the snapshotter that
// core/unpack works with: containerd's applier mounts the lowest layer to write into it and runs
// an external program for gzip; here nothing is mounted and nothing executed.
type layerWriter struct {
	snapshots.Snapshotter
	blobs content.Provider
	keys  keyring

	mu      sync.Mutex          // guards implied
	implied map[string][]string // layer directory → directories its tar uses but does not describe
}

func newLayerWriter(s snapshots.Snapshotter, blobs content.Provider, keys keyring) *layerWriter {
	return &layerWriter{Snapshotter: s, blobs: blobs, keys: keys, implied: map[string][]string{}}
}

// Apply unpacks the layer at desc into the directory mounts speaks of, and returns the digest of
// its uncompressed form, which the caller compares with the image's configuration.
//
// Paths in the tar cannot leave the directory: package archive resolves each within it, as chroot
// would, and nothing of the host is mounted there.
func (w *layerWriter) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	dir, stacked := layerTarget(mounts)
	blob, err := w.blobs.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer blob.Close()
	packed := content.NewReader(blob)
	if encrypted(desc) {
		if packed, err = w.keys.open(packed, desc); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	plain, err := decompress(packed)
	if err != nil {
		return ocispec.Descriptor{}, damaged(desc, err)
	}
	defer plain.Close()

	digester := digest.Canonical.Digester()
	tee := io.TeeReader(plain, digester.Hash())
	var seen tarDirs
	opts := []archive.ApplyOpt{archive.WithFilter(seen.note)}
	if stacked {
		// The lowest layer has nothing below to hide: there a whiteout removes what the same
		// tar wrote before it, and does not become a device file.
		opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
	}
	size, err := archive.Apply(ctx, dir, tee, opts...)
	if err == nil {
		_, err = io.Copy(io.Discard, tee) // what follows the end marker counts for the digest
	}
	if err != nil {
		return ocispec.Descriptor{}, damaged(desc, err)
	}
	crash.Point("pull.layer-written")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.implied[dir] = seen.implied()
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: size, Digest: digester.Digest()}, nil
}

// Commit completes the layer at key with what it inherits from the layers below, which are known
// only now: they were unpacked side by side.
func (w *layerWriter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	var info snapshots.Info
	for _, opt := range opts {
		if err := opt(&info); err != nil {
			return err
		}
	}
	mounts, err := w.Mounts(ctx, key)
	if err != nil {
		return err
	}
	dir, _ := layerTarget(mounts)
	w.mu.Lock()
	implied := w.implied[dir]
	delete(w.implied, dir)
	w.mu.Unlock()
	if info.Parent != "" && len(implied) > 0 {
		below, err := w.chain(ctx, info.Parent)
		if err != nil {
			return err
		}
		if err := inherit(dir, below, implied); err != nil {
			return fmt.Errorf("directories of layer %s: %w", name, err)
		}
	}
	defer crash.Point("pull.layer-committed")
	return w.Snapshotter.Commit(ctx, name, key, opts...)
}

// chain returns the directories of a committed layer and all below it, the topmost first.
func (w *layerWriter) chain(ctx context.Context, name string) ([]string, error) {
	var dirs []string
	for name != "" {
		info, err := w.Stat(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", name, err)
		}
		dirs = append(dirs, info.Labels["containerd.io/snapshot/overlay.upperdir"])
		name = info.Parent
	}
	return dirs, nil
}

// layerTarget returns the directory to unpack into, and whether the layer lies on others: then
// core/unpack hands over an overlay, else a bind mount.
func layerTarget(mounts []mount.Mount) (dir string, stacked bool) {
	m := mounts[0]
	for _, o := range m.Options {
		if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
			return upper, true
		}
	}
	return m.Source, false
}

// damaged gives what is wrong with the blob itself its class, and leaves to the system what the
// system refused.
func damaged(desc ocispec.Descriptor, err error) error {
	err = fmt.Errorf("unpack layer %s: %w", desc.Digest, err)
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
}

// The first bytes of what layers are compressed with. They are believed rather than the media
// type, as every other runtime does: registries are full of layers with the wrong one.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// blobBuffer is the size of a read from a compressed layer.
const blobBuffer = 256 << 10

// zstdWindow is how far back a layer may refer, which is kept in memory: what zstd(1) takes without being told to use
// more. The format allows terabytes, and the library half a gigabyte, which a layer of 100 KiB could ask for.
const zstdWindow = 128 << 20

func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, blobBuffer)
	head, err := b.Peek(len(zstdMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// overlayXattrs are the PAX records by which a tar could speak to overlayfs itself: redirects and
// the like. An image says such things with whiteouts only.
var overlayXattrs = []string{"SCHILY.xattr.trusted.overlay.", "SCHILY.xattr.user.overlay."}

// note is called with every entry before it is unpacked.
func (d *tarDirs) note(h *tar.Header) (bool, error) {
	for record := range h.PAXRecords {
		for _, prefix := range overlayXattrs {
			if strings.HasPrefix(record, prefix) {
				delete(h.PAXRecords, record)
			}
		}
	}
	d.add(h.Name, h.Typeflag == tar.TypeDir)
	return true, nil
}
