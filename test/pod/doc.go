// Package pod tests the runtime end to end: everything goes through the CRI socket of a daemon
// the suite starts itself, and what the runtime claims is checked against the kernel.
//
// The suite runs in PID, mount and network namespaces of its own (test/enclose), so that other
// programs on the machine do not disturb it, nothing of it survives it, and "no process but
// these" can be asserted by reading /proc. For the runtime these namespaces are the host's.
//
//	go test ./test/pod                        against bin/tare and bin/keeper (make build)
//	go test ./test/pod -args -bin /some/dir   against others
//	go test ./test/pod -args -keep            leave the daemons' logs
//	go test ./test/pod -args -slower 10       on a machine that is emulated
//
// The nouns: a daemon is one instance of the runtime with paths of its own; the shared one serves
// most tests, tests that kill or misconfigure theirs start another. A pod and a ctr are what a
// test made there. Every test fails that leaves anything on the host.
package pod
