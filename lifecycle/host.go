package lifecycle

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// errNotReady is why nothing can be done in a pod that was stopped.
var errNotReady = fmt.Errorf("pod sandbox is not ready: %w", errdefs.ErrFailedPrecondition)

// makePrivate makes a directory that only root enters.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	return nil
}

// oomScoreFloor is the lowest oom_score_adj a child of this process can be given: without
// CAP_SYS_RESOURCE a process may not go below what it started with (proc_pid_oom_score_adj(5)).
// With it, the floor is the scale's.
func oomScoreFloor() (int, error) {
	const path = "/proc/self/oom_score_adj"
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read own oom score: %w", err)
	}
	own, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil {
		return 0, fmt.Errorf("read own oom score: %w", err)
	}
	const lowest = -1000
	if os.WriteFile(path, []byte(strconv.Itoa(lowest)), 0) != nil {
		return own, nil
	}
	return lowest, os.WriteFile(path, []byte(strconv.Itoa(own)), 0)
}

// maxOpenFiles is this process's hard limit, which it cannot exceed for others either
// (getrlimit(2)).
func maxOpenFiles() (uint64, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return lim.Max, nil
}
