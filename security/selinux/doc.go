// Package selinux gives pods and containers their SELinux labels (selinux(8)).
//
// The nouns: a context is "user:role:type:level", the level being MCS categories that keep pods apart; options
// are a context of which any part may be missing, as a request has them; the labels of a pod are two
// contexts, its processes' and its files'. Where neither request nor pod say otherwise, they are what the host's
// policy has for containers (lxc_contexts), with a level nobody else has.
//
// Where SELinux is off, or the configuration says so, there are no labels, and options mean nothing: the
// kubelet sends a pod's whatever the node has.
//
// Not here: applying labels, which is the forked child's program and mount options (packages container,
// sandbox and nsutil), and the translation of the wire's fields (package cri).
package selinux
