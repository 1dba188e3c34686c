package images

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	cimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"tare/spec"
)

const (
	pinPrefix   = "image-"                // + image id: the key of the view that keeps its layers
	labelImage  = "tare/image"            // on that view: the image id
	labelGCRoot = "containerd.io/gc.root" // on that view: not collected, nor what it stands on
)

// nodePlatform matches what this machine runs. An image that does not say what it is for is
// taken at its word and tried, as CRI-O does: tools that build from single binaries leave it out.
type nodePlatform struct{ platforms.MatchComparer }

func newNodePlatform() nodePlatform { return nodePlatform{platforms.Default()} }

func (n nodePlatform) Match(p ocispec.Platform) bool {
	if p.OS == "" {
		p.OS = runtime.GOOS
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return n.MatchComparer.Match(p)
}

// inspect reads the image that target, a manifest or an index of manifests, holds for this
// platform, and the chain id of its topmost layer (empty: no layers).
func (e *engine) inspect(ctx context.Context, target ocispec.Descriptor) (spec.Image, string, error) {
	platform := newNodePlatform()
	manifest, err := cimages.Manifest(ctx, e.content, target, platform)
	if err != nil {
		return spec.Image{}, "", err
	}
	config, err := e.config(ctx, manifest.Config)
	if err != nil {
		return spec.Image{}, "", err
	}
	if l, d := len(manifest.Layers), len(config.RootFS.DiffIDs); l != d {
		return spec.Image{}, "", fmt.Errorf("manifest has %d layers, configuration %d: %w", l, d, errdefs.ErrDataLoss)
	}
	whole := cimages.Image{Target: target}
	size, err := whole.Size(ctx, e.content, platform)
	if err != nil {
		return spec.Image{}, "", fmt.Errorf("size: %w", err)
	}
	img := spec.Image{ID: spec.ImageID(manifest.Config.Digest), Size: size, Config: config.Config}
	if config.Created != nil {
		img.Created = *config.Created
	}
	return img, identity.ChainID(config.RootFS.DiffIDs).String(), nil
}

// config reads an image configuration. ErrNotFound: the image is for another platform.
func (e *engine) config(ctx context.Context, desc ocispec.Descriptor) (ocispec.Image, error) {
	var config ocispec.Image
	b, err := content.ReadBlob(ctx, e.content, desc)
	if err != nil {
		return config, fmt.Errorf("read configuration: %w", err)
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return config, fmt.Errorf("configuration: %w: %w", err, errdefs.ErrDataLoss)
	}
	if !newNodePlatform().Match(platforms.Normalize(config.Platform)) {
		return config, fmt.Errorf("image is for %s, not for %s: %w",
			platforms.Format(config.Platform), platforms.DefaultString(), errdefs.ErrNotFound)
	}
	return config, nil
}

// pin keeps the layers below chain on disk for the image, until unpin, and returns their
// directories, the topmost first. Pinning twice is pinning once.
func (e *engine) pin(ctx context.Context, id spec.ImageID, chain string) ([]string, error) {
	labels := map[string]string{
		labelGCRoot: time.Now().UTC().Format(time.RFC3339),
		labelImage:  string(id),
	}
	key := pinPrefix + string(id)
	mounts, err := e.layers.View(ctx, key, chain, snapshots.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = e.layers.Mounts(ctx, key)
	}
	if err != nil {
		return nil, fmt.Errorf("keep layers of %s: %w", id, err)
	}
	dirs := layerDirs(mounts)
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("layer of %s: %w", id, err)
		}
	}
	return dirs, nil
}

func (e *engine) unpin(ctx context.Context, id spec.ImageID) error {
	if err := e.layers.Remove(ctx, pinPrefix+string(id)); err != nil {
		return fmt.Errorf("let go of layers of %s: %w", id, err)
	}
	return nil
}

// pins returns the layer directories of every image that has been pinned.
func (e *engine) pins(ctx context.Context) (map[spec.ImageID][]string, error) {
	var ids []spec.ImageID
	err := e.layers.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if id := i.Labels[labelImage]; id != "" && i.Kind == snapshots.KindView {
			ids = append(ids, spec.ImageID(id))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list kept layers: %w", err)
	}
	kept := make(map[spec.ImageID][]string, len(ids))
	for _, id := range ids {
		mounts, err := e.layers.Mounts(ctx, pinPrefix+string(id))
		if err != nil {
			return nil, fmt.Errorf("layers of %s: %w", id, err)
		}
		kept[id] = layerDirs(mounts)
	}
	return kept, nil
}

// layerDirs reads the layer directories out of what the overlay snapshotter says to mount for a
// view: a bind mount of the only layer, or an overlay of several.
func layerDirs(mounts []mount.Mount) []string {
	m := mounts[0]
	for _, o := range m.Options {
		if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Split(lower, ":")
		}
	}
	return []string{m.Source}
}

// sync writes the filesystem's dirty pages: unpacking itself does not, one call for a whole
// image costs less than one per layer.
func (e *engine) sync() error {
	dir, err := os.Open(e.root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: e.root, Err: err}
	}
	return nil
}

// atomically runs fn with a context under which all changes of the database are one transaction.
func (e *engine) atomically(ctx context.Context, fn func(context.Context) error) error {
	return e.db.Update(func(tx *bolt.Tx) error { return fn(boltutil.WithTransaction(ctx, tx)) })
}
