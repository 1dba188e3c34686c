// Package nri speaks with the node's NRI plugins (Node Resource Interface, github.com/containerd/nri): it tells them of
// pods and containers, and collects what they want changed.
//
// The nouns: a *plugin* is a process, started from a drop-in directory or connected at a socket; an *event* is what
// it is told; an *adjustment* is what plugins together change in a container that is being created; an *update*
// changes limits of one that exists.
//
// The protocol, its time limits, the order of plugins and the merging of what they answer are the
// library's. Here are the translation of records, and the translation of answers into what the rest of
// this module does anyhow: an adjustment becomes edits like those of CDI devices, an update a change of
// resources like a kubelet's. What cannot be done is refused, and named.
//
// Not here: when events happen and what follows from a refusal (lifecycle).
//
// Concurrency: any goroutine may call. Plugins are asked one after the other, by one event at a time; a plugin that
// does not answer in time is let go of. Without a plugin an event costs one atomic load.
package nri
