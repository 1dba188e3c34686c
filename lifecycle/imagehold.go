package lifecycle

import (
	"context"
	"fmt"

	"tare/spec"
	"tare/store"
)

// holdImages keeps the layers of the container's image and of its image volumes on disk for as long
// as the container is on record, and returns the image's layers, top first. All or none are held.
func holdImages(ctx context.Context, images Images, c *store.Container) ([]string, error) {
	lowers, err := images.Acquire(ctx, c.Image)
	if err != nil {
		return nil, fmt.Errorf("layers of image %q: %w", c.ImageName, err)
	}
	for i, id := range c.Volumes {
		if _, err := images.Acquire(ctx, id); err != nil {
			for _, held := range append(c.Volumes[:i:i], c.Image) {
				images.Release(held)
			}
			return nil, fmt.Errorf("layers of image volume %s: %w", id, err)
		}
	}
	return lowers, nil
}

// releaseImages takes holdImages back.
func releaseImages(images Images, c *store.Container) {
	for _, id := range append([]spec.ImageID{c.Image}, c.Volumes...) {
		images.Release(id)
	}
}

// layersOf returns the layers of an image that the container holds, top first.
func layersOf(ctx context.Context, images Images) func(spec.ImageID) ([]string, error) {
	return func(id spec.ImageID) ([]string, error) {
		lowers, err := images.Acquire(ctx, id)
		if err == nil {
			images.Release(id)
		}
		return lowers, err
	}
}
