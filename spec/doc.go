// Package spec holds the validated domain types that every other package speaks: pod
// sandboxes, containers, images and what can be asked of them. A value of these types
// has been checked where it entered (package cri turns the wire's messages into them), so
// nobody below re-validates a string; what depends on the host's state (does the path
// exist, is the image there) is checked where the state is known.
//
// Not here: wire types, states and records (package store), and plans (packages sandbox and
// container). Values are data: no methods with side effects, safe to share once built. PodLocks
// is none of them: it is here because those who take turns at a pod know it by a PodID.
package spec
