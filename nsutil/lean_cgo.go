//go:build cgo

package nsutil

// KeepFromChildren does nothing where the C library is: glibc registers memory of each thread for restartable
// sequences, and the kernel writes to it in a forked child as well (rseq(2)).
func KeepFromChildren() error { return nil }
