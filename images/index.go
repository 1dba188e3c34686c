package images

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"tare/spec"
)

// index is one immutable state of the catalog.
type index struct {
	refs   map[string]spec.ImageID // every recorded reference
	images map[spec.ImageID]spec.Image
}

// minPrefix is how many digits of an id are taken for an abbreviation of it. Fewer may be a name:
// an image "cafe" that is not here must not be found as another one whose id begins so.
const minPrefix = 12

// newIndex completes the images with their references and pins. Images without any reference
// are left out.
func newIndex(refs map[string]spec.ImageID, images map[spec.ImageID]spec.Image, pinned pins) *index {
	x := &index{refs: refs, images: make(map[spec.ImageID]spec.Image, len(images))}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		id := refs[ref]
		img, seen := x.images[id]
		if !seen {
			img = images[id]
			img.Tags, img.Digests, img.Pinned = nil, nil, false
		}
		if isTag(ref) {
			img.Tags = append(img.Tags, ref)
		} else {
			img.Digests = append(img.Digests, ref)
		}
		img.Pinned = img.Pinned || pinned.hold(ref)
		x.images[id] = img
	}
	return x
}

// with returns the index in which refs lead to img.
func (x *index) with(img spec.Image, refs []string, pinned pins) *index {
	next, images := maps.Clone(x.refs), maps.Clone(x.images)
	for _, ref := range refs {
		next[ref] = img.ID
	}
	images[img.ID] = img
	return newIndex(next, images, pinned)
}

// without returns the index that lacks the image.
func (x *index) without(id spec.ImageID) *index {
	refs, images := maps.Clone(x.refs), maps.Clone(x.images)
	maps.DeleteFunc(refs, func(_ string, to spec.ImageID) bool { return to == id })
	delete(images, id)
	return &index{refs: refs, images: images}
}

// refsOf returns the references that lead to the image.
func (x *index) refsOf(id spec.ImageID) []string {
	img := x.images[id]
	return slices.Concat(img.Tags, img.Digests)
}

func (x *index) list() []spec.Image {
	return slices.SortedFunc(maps.Values(x.images), func(a, b spec.Image) int { return cmp.Compare(a.ID, b.ID) })
}

// find looks ref up as a whole id, as a reference, and as the beginning of an id, in this order.
func (x *index) find(ref string) (spec.Image, bool) {
	digits := strings.TrimPrefix(ref, "sha256:")
	if img, ok := x.images[spec.ImageID("sha256:"+digits)]; ok {
		return img, true
	}
	if named, err := parse(ref); err == nil {
		if id, ok := x.refs[named.String()]; ok {
			return x.images[id], true
		}
	}
	return x.abbreviated(digits)
}

// abbreviated finds the one image whose id begins with digits.
func (x *index) abbreviated(digits string) (spec.Image, bool) {
	var found []spec.Image
	for id, img := range x.images {
		if len(digits) >= minPrefix && strings.HasPrefix(string(id), "sha256:"+digits) {
			found = append(found, img)
		}
	}
	if len(found) != 1 {
		return spec.Image{}, false
	}
	return found[0], true
}
