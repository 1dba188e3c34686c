package images

import (
	"encoding/json"
	"fmt"
	"maps"

	cimages "github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/spec"
)

// listing is what a pull adds to the catalog.
type listing struct {
	refs        []string // under which it is listed; the last one is its digest
	target      ocispec.Descriptor
	handler     string
	annotations map[string]string
}

// annotationPull is the key, on a record's target, of what the pull said beyond its reference.
// There, because the database bounds labels to 4 KiB, and kubelets send a pod's annotations.
const annotationPull = "tare/pull"

// pulled is the value at annotationPull, JSON.
type pulled struct {
	Handler     string            `json:"handler,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// record is the database's form of one reference of l.
func (l listing) record(ref string) (cimages.Image, error) {
	said, err := json.Marshal(pulled{l.handler, l.annotations})
	if err != nil {
		return cimages.Image{}, fmt.Errorf("record %s: %w", ref, err)
	}
	target := l.target
	target.Annotations = map[string]string{annotationPull: string(said)}
	return cimages.Image{Name: ref, Target: target}, nil
}

// tell notes on img what the pull of l said.
func (l listing) tell(img *spec.Image) { img.Handler, img.Annotations = l.handler, l.annotations }

// tells reports whether img says already what l does.
func (l listing) tells(img spec.Image) bool {
	return img.Handler == l.handler && maps.Equal(img.Annotations, l.annotations)
}

// listed is listing.record backwards, for one reference.
func listed(r cimages.Image) (listing, error) {
	l := listing{refs: []string{r.Name}, target: r.Target}
	said, ok := r.Target.Annotations[annotationPull]
	if !ok {
		return l, nil
	}
	var p pulled
	if err := json.Unmarshal([]byte(said), &p); err != nil {
		return l, fmt.Errorf("what the pull of %s said: %w", r.Name, err)
	}
	l.handler, l.annotations = p.Handler, p.Annotations
	return l, nil
}
