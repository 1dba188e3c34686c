// Package images keeps container images on this node: it pulls them from registries, unpacks
// their layers once, and lends the layer directories to whoever assembles a root filesystem.
//
// The nouns: a *reference* is a name people use (repository:tag or repository@digest); an
// *image* is what a reference leads to on this platform, known by the digest of its
// configuration; a *layer* is one unpacked directory; the *catalog* is the list of images; a
// *hold* keeps an image's layers on disk, whether the image is still listed or not.
//
// The work is done by containerd's packages, embedded: content store, resolver, unpacker,
// overlay snapshotter, and the metadata database with its leases and garbage collection. What
// this package adds is small: single flight, durability in one step, lock-free reads, and layer
// directories handed out without a database transaction.
//
// Not here: mounting anything (nsutil), writable layers (container), the wire (cri).
//
// Concurrency: Get, List, Acquire and Usage never wait for a disk or a registry. Changes of the
// catalog are made one at a time; pulls run side by side up to that point and share the layers
// they have in common.
//
// Durability: every byte of an image is on disk before the record that lists it. What a crash
// leaves of an unfinished pull is removed by the next Open.
package images
