// Package stats tells what pods and containers use: processor, memory, swap and block devices, from
// their cgroups; network, from the pod's network namespace; disk, from writable layers.
//
// The nouns: a Collector holds what has to be kept from one reading to the next; a Container and a
// Pod are one reading.
//
// A reading is one pass over a few files that stay open (cgroup.Meter), and for a pod one netlink
// request; it never walks a directory. What can only be counted by walking, the size of a writable layer and
// the open sockets, a goroutine counts in the background, and a reading shows its last result with the
// time of it. That goroutine works only while somebody asks for readings, and at most a twentieth of the
// time (see refresh.go), so that an idle node stays idle.
//
// Not here: CRI's messages (package cri), what metrics are called, events.
//
// Concurrency: a Collector may be used by any number of goroutines. Its own two, which Close ends and
// waits for, refresh what is counted in the background and let go of what has ended.
package stats
