// Package seccomp turns seccomp profiles into the filters the kernel runs (seccomp(2)): classic BPF, as
// bytes for the forked child to install. Pure Go, so neither libseccomp nor cgo is needed.
//
// The nouns: a profile is the OCI specification's LinuxSeccomp; a table has a decision for every system
// call number of one ABI; a Filter is the program. A Cache keeps filters, because compiling takes
// a hundred times as long as anything else about them and a node has a handful of profiles.
//
// The program looks its number up by binary search over ranges with the same decision, some eight
// comparisons for the default profile instead of hundreds. It reads nothing but architecture and number before
// it has decided to look at arguments, which lets the kernel find out once which calls are always allowed
// and skip the program for them (kernel commit 8e01b51a31a1, "seccomp/cache: Add "emulator" to check if
// filter is constant allow").
//
// Meaning follows libseccomp and runc, for which profiles are written; see table.go.
//
// Not here: installing a filter (packages nsutil and container); SCMP_ACT_NOTIFY, which needs an agent to ask.
package seccomp
