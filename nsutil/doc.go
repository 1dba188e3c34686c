// Package nsutil is the only door to Linux namespaces, clone, setns and mounts.
//
// Its centre is the Program: a flat list of system calls with their arguments, compiled by a
// Builder in the daemon, shipped to the keeper as bytes, and run by a forked child between clone
// and execve (interpret in fork_unsafe.go). A program is data: it prints as a listing, encodes to
// bytes and back, and when one of its steps fails, the step's index and errno come back, which the
// holder of the program turns into an operation's name and path. Nothing of the runtime is ever
// executed inside a container, so nothing there can be attacked through its namespace-crossing.
//
// Beside it stand the helpers that work on file descriptors in the calling process: detached
// mounts (mountfd.go), resolution under a hostile root (inroot.go), pidfds (pidfd.go), and probes of
// what this kernel allows (probe_*.go).
//
// Two traps shape it. Go does not end the main thread when a locked goroutine exits on it but
// wedges it, and /proc/self/ns then shows the wrong namespace (golang/go #34031, #28979): a main
// package that uses Do locks its main goroutine in init. And setns(2) refuses a user namespace to
// a process with threads, and a mount namespace while the file system context is shared: that
// work belongs into a program, never into a goroutine.
//
// A program closes nothing that it opens: every descriptor is close-on-exec, or goes with the child.
//
// Concurrency: Builder and Program values belong to one goroutine; a Program is read-only once
// built. Launch may be called from any goroutine.
package nsutil
