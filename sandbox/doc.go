// Package sandbox makes and unmakes pod sandboxes. A sandbox is not a process: it is a set of
// Linux namespaces (network, IPC, UTS, user) held by descriptors, a tmpfs for /dev/shm that is
// attached nowhere, and three small files. One host mount exists for it: the network namespace is
// bound below /var/run/netns, because CNI plugins and agents need a path.
//
// The nouns: Plan (what will be made, with the program that makes it), Sandbox (the live
// handles). Network addresses are package cni's, containers are package container's, and who
// calls whom in what order is package lifecycle's.
//
// Concurrency: functions on one pod are called by one goroutine at a time (lifecycle's lock);
// a Sandbox is read-only once made.
package sandbox
