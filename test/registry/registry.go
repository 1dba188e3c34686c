// Package registry builds the images the test suites run, from programs of the
// machine it runs on, and serves them over plain http on a loopback port.
//
// Nouns: a tree is the content of one layer; an Entry is an image or index under
// one repository and its tags; a Catalog is every Entry; a Server answers the
// distribution API for a Catalog, whatever registry host the client believes it
// speaks to. WriteCertsDir writes the certs.d/<host>/hosts.toml files that send a
// runtime here.
//
// Images are reproducible: the same installed programs give the same digests.
// Not here: pushing, authentication, TLS.
//
// A Catalog is immutable once built and may be shared by any number of servers.
package registry

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Hosts are the registries a Server stands in for: those named by critest, by the
// peers' default pause image, and the project's own name for hand-made images.
var Hosts = []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io", "docker.io", "quay.io", LocalHost}

// LocalHost is the registry host of images that exist nowhere else.
const LocalHost = "registry.tare.test"

// Entry is one image, or one index of images, as served. Exactly one of Image and
// Index is set.
type Entry struct {
	Repo  string   // without host: e2e-test-images/busybox
	Tags  []string // at least one
	Image v1.Image
	Index v1.ImageIndex
}

// Catalog is what a Server serves.
type Catalog struct {
	Entries []Entry
	// damage says which blobs are served other than their digest promises.
	damage map[v1.Hash]damage
}

// Build assembles every image from the programs installed on this machine. A
// missing program is an error that names its Debian package.
func Build() (*Catalog, error) {
	bases, err := buildBases()
	if err != nil {
		return nil, fmt.Errorf("build base layers: %w", err)
	}
	var c Catalog
	for _, add := range []func(*baseLayers) ([]Entry, error){conformanceImages, serverImages, smallImages, layerImages} {
		entries, err := add(bases)
		if err != nil {
			return nil, err
		}
		c.Entries = append(c.Entries, entries...)
	}
	hostile, damaged, err := hostileImages(bases)
	if err != nil {
		return nil, err
	}
	c.Entries = append(c.Entries, hostile...)
	c.damage = damaged
	return &c, nil
}

// Digest is the digest a client gets when it resolves a tag of e.
func (e Entry) Digest() (v1.Hash, error) {
	if e.Index != nil {
		return e.Index.Digest()
	}
	return e.Image.Digest()
}
