package nsutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PidfdKillTree kills a process, its process group, and its descendants, in whatever groups and sessions
// these are. Each is stopped before its children are looked up, so that none forks away: fork(2) starts
// over while a signal is pending. Who left the tree earlier, as daemons do by letting their parent end, is
// not found; without /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN) the group is all there is. What
// has ended already is no error.
func PidfdKillTree(pidfd *os.File) error {
	tree := []*os.File{pidfd}
	var errs []error
	for i := 0; i < len(tree); i++ { // grows meanwhile
		if err := PidfdSignal(tree[i], unix.SIGSTOP); err != nil {
			errs = append(errs, err)
			continue
		}
		tree = append(tree, children(tree[i])...)
	}
	errs = append(errs, PidfdSignalGroup(pidfd, unix.SIGKILL))
	for i, p := range tree {
		errs = append(errs, PidfdSignal(p, unix.SIGKILL))
		if i > 0 {
			p.Close()
		}
	}
	return errors.Join(errs...)
}

// children returns handles on a process's children. The caller closes them.
func children(parent *os.File) (out []*os.File) {
	pid, err := PidfdPid(parent)
	if err != nil {
		return nil
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // errors are of the pattern
	for _, list := range lists {
		text, _ := os.ReadFile(list) // none of a thread that has ended
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				continue
			}
			if p := childOf(pid, child); p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// childOf opens a process, unless the pid is another's by now.
func childOf(parent, pid int) *os.File {
	p, err := PidfdOpen(pid)
	if err != nil {
		return nil
	}
	if parentOf(pid) == parent {
		return p
	}
	p.Close()
	return nil
}

// parentOf is a process's parent. 0: there is no such process.
func parentOf(pid int) int {
	ppid, _ := strconv.Atoi(ReadProcStat(pid).Field(4)) // a number by the kernel's word
	return ppid
}
