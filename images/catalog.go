package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	cimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/crash"
	"tare/nsutil"
	"tare/spec"
)

// catalog lists the images and keeps the layers of each. The database holds one record per
// reference; the index in memory is what readers see.
type catalog struct {
	engine *engine
	holds  *holds
	pinned pins

	mu      sync.Mutex // one change at a time, held over I/O: readers never take it
	current atomic.Pointer[index]
}

func (c *catalog) index() *index { return c.current.Load() }

// load builds the index from the records, and finds the layers that are kept for others. A
// record whose image is not whole is deleted: a pull brings it back, a wrong image would stay.
// One that cannot be read stays, unlisted: the disk may be mended, and other images are whole.
func (c *catalog) load(ctx context.Context) error {
	ctx = c.engine.scope(ctx)
	kept, err := c.engine.pins(ctx)
	if err != nil {
		return err
	}
	for id, dirs := range kept {
		c.holds.keep(id, dirs)
	}
	records, err := c.engine.records.List(ctx)
	if err != nil {
		return err
	}
	// The last pull of an image is the one that is told of.
	slices.SortFunc(records, func(a, b cimages.Image) int { return a.UpdatedAt.Compare(b.UpdatedAt) })
	refs, images := map[string]spec.ImageID{}, map[spec.ImageID]spec.Image{}
	for _, r := range records {
		img, err := c.restore(ctx, r)
		switch {
		case nsutil.Scarce(err): // says nothing about the image
			return fmt.Errorf("%s: %w", r.Name, err)
		case err != nil && !broken(err):
			c.engine.log.Error("image cannot be read and is not listed", "image", r.Name, "err", err)
			continue
		case err != nil:
			c.engine.log.Warn("image is not whole and is dropped", "image", r.Name, "err", err)
			if err := c.engine.records.Delete(ctx, r.Name); err != nil {
				return fmt.Errorf("drop %s: %w", r.Name, err)
			}
			continue
		}
		refs[r.Name] = img.ID
		images[img.ID] = img
	}
	for id := range images {
		c.holds.acquire(id)
	}
	c.current.Store(newIndex(refs, images, c.pinned))
	return nil
}

// broken says whether an error of restore is the image's: of what is missing, or was read and makes no sense. What else the
// kernel says (EIO) is of the disk, and the image may be whole.
func broken(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return !ok || errno == unix.ENOENT
}

// restore reads the image behind a record and makes sure that its layers are kept.
func (c *catalog) restore(ctx context.Context, r cimages.Image) (spec.Image, error) {
	l, err := listed(r)
	if err != nil {
		return spec.Image{}, err
	}
	img, chain, err := c.engine.inspect(ctx, l.target)
	if err != nil {
		return spec.Image{}, err
	}
	l.tell(&img)
	dirs, err := c.engine.pin(ctx, img.ID, chain)
	if err != nil {
		return spec.Image{}, err
	}
	c.holds.keep(img.ID, dirs)
	return img, nil
}

// add lists an unpacked image, once all of it is on disk. It finishes even if ctx ends meanwhile.
//
// Precondition: ctx holds a lease on the image.
func (c *catalog) add(ctx context.Context, l listing) (spec.Image, error) {
	ctx = context.WithoutCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	img, chain, err := c.engine.inspect(ctx, l.target)
	if err != nil {
		return spec.Image{}, err
	}
	dirs, err := c.engine.pin(ctx, img.ID, chain)
	if err != nil {
		return spec.Image{}, err
	}
	c.holds.hold(img.ID, dirs) // until the listing does
	defer c.holds.release(img.ID)
	crash.Point("pull.layers-pinned")
	if err := c.engine.sync(); err != nil {
		return spec.Image{}, err
	}
	crash.Point("pull.synced")
	return c.list(ctx, l, img)
}

// adopt lists an image that is here already, and reports whether it was still here.
func (c *catalog) adopt(ctx context.Context, l listing) (spec.Image, bool, error) {
	ctx = c.engine.scope(context.WithoutCancel(ctx))
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.index().refs[l.refs[len(l.refs)-1]]
	if !ok {
		return spec.Image{}, false, nil
	}
	img := c.index().images[id]
	moved := slices.ContainsFunc(l.refs, func(ref string) bool { return c.index().refs[ref] != id })
	if !moved && l.tells(img) {
		return img, true, nil
	}
	img, err := c.list(ctx, l, img)
	return img, err == nil, err
}

// list records and publishes img as l says.
//
// Precondition: mu is held, img's layers are.
func (c *catalog) list(ctx context.Context, l listing, img spec.Image) (spec.Image, error) {
	if err := c.engine.record(ctx, l); err != nil {
		return spec.Image{}, err
	}
	crash.Point("pull.listed")
	l.tell(&img)
	c.publish(c.index().with(img, l.refs, c.pinned))
	return c.index().images[img.ID], nil
}

// remove unlists the image that ref leads to. Its layers wait for reap.
func (c *catalog) remove(ctx context.Context, ref string) (bool, error) {
	ctx = c.engine.scope(context.WithoutCancel(ctx))
	c.mu.Lock()
	defer c.mu.Unlock()
	img, ok := c.index().find(ref)
	if !ok {
		return false, nil
	}
	if err := c.engine.unrecord(ctx, c.index().refsOf(img.ID)); err != nil {
		return false, err
	}
	crash.Point("image-remove.unlisted")
	c.publish(c.index().without(img.ID))
	return true, nil
}

// publish makes next the current index. An image that is new in it is held, one that is no
// longer in it is released.
//
// Precondition: mu is held.
func (c *catalog) publish(next *index) {
	old := c.current.Swap(next)
	for id := range next.images {
		if _, ok := old.images[id]; !ok {
			c.holds.acquire(id)
		}
	}
	for id := range old.images {
		if _, ok := next.images[id]; !ok {
			c.holds.release(id)
		}
	}
}

// sweep deletes the layers that nobody has needed since Open.
func (c *catalog) sweep(ctx context.Context) error {
	c.mu.Lock()
	c.holds.abandon()
	c.mu.Unlock()
	return c.reap(ctx)
}

// reap deletes the layers that nobody holds any more, and everything else nothing refers to.
func (c *catalog) reap(ctx context.Context) error {
	if err := c.unpinUnheld(c.engine.scope(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	crash.Point("image-remove.unpinned")
	return c.engine.collect(ctx)
}

// unpinUnheld runs under mu, so that an image pulled again at the same time is either seen as
// held or pinned anew afterwards.
func (c *catalog) unpinUnheld(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed []spec.ImageID
	var errs error
	for _, id := range c.holds.takeUnheld() {
		if err := c.engine.unpin(ctx, id); err != nil && !errdefs.IsNotFound(err) {
			failed = append(failed, id)
			errs = errors.Join(errs, err)
		}
	}
	c.holds.giveBack(failed)
	return errs
}

// record writes one record per reference, all or none.
func (e *engine) record(ctx context.Context, l listing) error {
	return e.atomically(ctx, func(ctx context.Context) error {
		for _, ref := range l.refs {
			r, err := l.record(ref)
			if err != nil {
				return err
			}
			_, err = e.records.Update(ctx, r)
			if errdefs.IsNotFound(err) {
				_, err = e.records.Create(ctx, r)
			}
			if err != nil {
				return fmt.Errorf("record %s: %w", ref, err)
			}
		}
		return nil
	})
}

// unrecord deletes records, all or none.
func (e *engine) unrecord(ctx context.Context, refs []string) error {
	return e.atomically(ctx, func(ctx context.Context) error {
		for _, ref := range refs {
			if err := e.records.Delete(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("delete record %s: %w", ref, err)
			}
		}
		return nil
	})
}
