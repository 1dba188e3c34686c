package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/spec"
)

// oomScore is the oom_score_adj that a container with these limits has; floor is the lowest this process may give.
func oomScore(res *spec.Resources, floor int) int {
	if res == nil {
		return max(0, floor)
	}
	return max(int(res.OOMScoreAdj), floor)
}

// changeOOMScore gives the processes of a container that have its oom_score_adj another one; what a process
// chose for itself stays. A child forked meanwhile is found by looking again.
func changeOOMScore(g *cgroup.Group, was, wanted int) error {
	if was == wanted {
		return nil
	}
	for range 2 {
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := rescore(pid, was, wanted); err != nil {
				return fmt.Errorf("oom_score_adj: %w", err)
			}
		}
	}
	return nil
}

// rescore changes one process's score. One that has ended has none.
func rescore(pid, was, wanted int) error {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	now, err := os.ReadFile(path)
	if err == nil && string(bytes.TrimSpace(now)) == strconv.Itoa(was) {
		err = os.WriteFile(path, []byte(strconv.Itoa(wanted)), 0)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
