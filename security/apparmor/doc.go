// Package apparmor decides which AppArmor profile a container runs under, and brings the default one
// into the kernel (apparmor(7)).
//
// The nouns: a profile is a set of rules the kernel has under a name; most are the administrator's, and only
// named here. The default profile, DefaultName, is this runtime's own (profile.go). The parser is the
// program that turns a profile's text into what the kernel takes.
//
// Not here: applying a profile, which is the forked child's program (packages container and nsutil),
// and the translation of the wire's fields (package cri).
package apparmor
