// Package security computes what a container's process may be and do: its capability sets
// (Capabilities, Mask) and its user (ResolveUser). Package seccomp below it turns profiles into
// filters. All of it is computation: the only thing read is the image's user database, through a descriptor
// of a root file system that is not trusted.
//
// Not here: taking on what was computed, which is the forked child's program (packages container
// and nsutil), and the translation of the wire's fields (package cri).
package security
