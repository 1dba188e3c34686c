package images

import (
	"context"
	"fmt"
	"runtime"

	cimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"tare/crash"
	"tare/spec"
)

// maxDownloads bounds the layers one pull fetches at a time: more connections do not make one
// registry faster, and each holds a megabyte of buffer.
const maxDownloads = 6

// Pull fetches and unpacks the image ref leads to, and lists it under its tag and digest. Calls
// that overlap with the same reference and credential share the work, and the first one says the
// rest.
//
// Errors, one sentence naming the reference: ErrInvalidArgument (malformed reference, not an
// image), ErrNotFound (also: not for this platform), ErrUnavailable (registry unreachable or
// silent), ErrUnauthenticated, ErrPermissionDenied (also: encrypted, and no key opens it), ErrResourceExhausted (disk full),
// ErrDataLoss (content is not what its digest or format says), spec.ErrSignatureValidationFailed.
// Nothing of a failed pull stays.
func (s *Store) Pull(ctx context.Context, p spec.Pull) (spec.Image, error) {
	named, err := parse(p.Image)
	if err != nil {
		return spec.Image{}, err
	}
	key := flightKey{ref: named.String()}
	if p.Auth != nil {
		key.auth = *p.Auth
	}
	img, err := s.flights.do(ctx, key, func(ctx context.Context) (spec.Image, error) {
		return s.pull(ctx, named, p)
	})
	if err != nil {
		return spec.Image{}, pullError(named.String(), err)
	}
	return img, nil
}

// pull is one flight: it runs once whatever the number of callers.
func (s *Store) pull(ctx context.Context, named reference.Named, p spec.Pull) (spec.Image, error) {
	ctx = s.engine.scope(ctx)
	source, err := s.registries.source(ctx, named, p.Auth)
	if err != nil {
		return spec.Image{}, err
	}
	defer source.close()
	_, target, err := source.Resolve(ctx, named.String())
	if err != nil {
		return spec.Image{}, err
	}
	if err := s.verifier.verify(ctx, named.String(), target); err != nil {
		return spec.Image{}, err
	}
	l := listing{refs: recorded(named, target.Digest), target: target, handler: p.Handler, annotations: p.Annotations}
	if img, ok, err := s.catalog.adopt(ctx, l); ok || err != nil {
		return img, err
	}
	fetcher, err := source.Fetcher(ctx, named.String())
	if err != nil {
		return spec.Image{}, err
	}
	img, err := s.transfer(ctx, fetcher, l)
	if err != nil {
		// Now, not in the background: who is told that the disk is full finds it free again.
		if err := s.catalog.reap(ctx); err != nil {
			s.log.Warn("leftovers of a failed pull stay for now", "image", named.String(), "err", err)
		}
		return spec.Image{}, err
	}
	crash.Point("pull.lease-ended")
	s.janitor.wake() // the compressed layers are not needed any more
	return img, s.engine.count(ctx)
}

// transfer brings an image here and lists it.
func (s *Store) transfer(ctx context.Context, from remotes.Fetcher, l listing) (img spec.Image, err error) {
	ctx, end, err := s.engine.lease(ctx)
	if err != nil {
		return spec.Image{}, err
	}
	defer func() {
		if endErr := end(); err == nil && endErr != nil {
			// Listed and whole; the lease only keeps garbage, and goes at the next start.
			s.log.Warn("lease of a pull could not be ended", "image", l.refs[0], "err", endErr)
		}
	}()
	crash.Point("pull.leased")
	if err := s.unpack(ctx, from, l.target); err != nil {
		return spec.Image{}, err
	}
	crash.Point("pull.unpacked")
	return s.catalog.add(ctx, l)
}

// unpack fetches target and what it refers to for this platform. Layers are fetched and unpacked
// side by side, each as soon as it is there.
func (s *Store) unpack(ctx context.Context, from remotes.Fetcher, target ocispec.Descriptor) error {
	platform := newNodePlatform()
	store := s.engine.content
	children := onlyImages(cimages.ChildrenHandler(store))
	// Compressed layers get no label that keeps them: once unpacked they are waste.
	children = cimages.SetChildrenMappedLabels(store, children, cimages.ChildGCLabelsFilterLayers)
	children = cimages.FilterPlatforms(children, platform)
	children = cimages.LimitManifests(children, platform, 1)

	writer := newLayerWriter(s.engine.layers, store, s.keys)
	unpacker, err := unpack.NewUnpacker(ctx, store,
		unpack.WithUnpackPlatform(unpack.Platform{
			Platform:                platform,
			SnapshotterKey:          snapshotterName,
			Snapshotter:             writer,
			SnapshotterCapabilities: []string{snapshots.RebaseCap},
			Applier:                 writer,
		}),
		unpack.WithLimiter(semaphore.NewWeighted(maxDownloads)),
		unpack.WithUnpackLimiter(semaphore.NewWeighted(int64(max(4, runtime.NumCPU())))),
		unpack.WithDuplicationSuppressor(s.shared))
	if err != nil {
		return err
	}
	fetch := cimages.Handlers(refuseUnreadable, cimages.HandlerFunc(s.keys.refuseLocked), remotes.FetchHandler(store, from), s.refuseForeign(), children)
	err = cimages.Dispatch(ctx, unpacker.Unpack(fetch), nil, target)
	// Wait in any case: what it started must not outlive the lease.
	if _, waitErr := unpacker.Wait(); err == nil {
		err = waitErr
	}
	if err != nil {
		return contentError(err)
	}
	return nil
}

// maxDocument bounds what is read into memory: registries need not take manifests above 4 MiB
// (distribution-spec, Pushing Manifests), and configurations are smaller.
const maxDocument = 8 << 20

// refuseUnreadable names the one manifest format that has no digests of its layers' content, and
// what memory is too good for.
var refuseUnreadable = cimages.HandlerFunc(func(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if err := d.Digest.Validate(); err != nil { // it becomes part of a URL
		return nil, fmt.Errorf("%s: digest %q: %w: %w", d.MediaType, d.Digest, err, errdefs.ErrInvalidArgument)
	}
	switch {
	case d.MediaType == cimages.MediaTypeDockerSchema1Manifest:
		return nil, fmt.Errorf("manifest has the withdrawn format %s: %w", d.MediaType, errdefs.ErrInvalidArgument)
	case d.Size > maxDocument && !cimages.IsLayerType(d.MediaType):
		return nil, fmt.Errorf("%s of %d bytes is larger than %d: %w", d.MediaType, d.Size, maxDocument, errdefs.ErrInvalidArgument)
	}
	return nil, nil
})

// onlyImages refuses manifests of anything else than a container image.
func onlyImages(children cimages.HandlerFunc) cimages.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		all, err := children(ctx, d)
		if err != nil || !cimages.IsManifestType(d.MediaType) {
			return all, err
		}
		for i, child := range all { // the first one is the configuration
			if i == 0 && !cimages.IsConfigType(child.MediaType) {
				return nil, fmt.Errorf("no container image but %q: %w", child.MediaType, errdefs.ErrInvalidArgument)
			}
			if i > 0 && !cimages.IsLayerType(child.MediaType) {
				return nil, fmt.Errorf("layer of unknown type %q: %w", child.MediaType, errdefs.ErrInvalidArgument)
			}
		}
		return all, nil
	}
}

// refuseForeign looks at the configuration, which is fetched before the layers: what cannot run
// here is not worth their download.
func (s *Store) refuseForeign() cimages.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if !cimages.IsConfigType(d.MediaType) {
			return nil, nil
		}
		_, err := s.engine.config(ctx, d)
		return nil, err
	}
}
