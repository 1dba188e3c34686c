// Package container turns one container into processes: it assembles the OCI runtime
// specification from what was asked and what the image says (Assemble), prepares what that needs
// on the host (Prepare: root file system, detached mounts), and compiles both into a program of
// system calls (Compile), which the keeper runs. Exec compiles the program that enters a running
// container.
//
// The OCI specification (specs.Spec) is the container's one description: everything that edits
// containers edits it. What is not here: which image, who may call, in what order and what is
// recorded (package lifecycle); capabilities, users and filters (package security); limits
// (package cgroup).
//
// Concurrency: all functions are safe to call at once; what they return belongs to the caller.
package container
