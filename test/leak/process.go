package leak

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// programs are the executables whose processes count wherever they run.
var programs = map[string]bool{"tare": true, "keeper": true}

// processes lists those of the runtime's programs, and those in another PID or
// mount namespace than ours: containers and what hangs about from them.
func processes(s Snapshot) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		if ours(dir) {
			name, start := nameAndStart(dir)
			s.add("process %s %s started %s", e.Name(), name, start)
		}
	}
	return nil
}

// ours is false for processes that ended meanwhile and for zombies, which have
// neither namespaces nor an executable.
func ours(dir string) bool {
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil && programs[filepath.Base(strings.TrimSuffix(exe, " (deleted)"))] {
		return true
	}
	for _, ns := range []string{"pid", "mnt"} {
		its, err := os.Readlink(filepath.Join(dir, "ns", ns))
		if err != nil {
			return false
		}
		if my, err := os.Readlink("/proc/thread-self/ns/" + ns); err == nil && its != my {
			return true
		}
	}
	return false
}

// nameAndStart reads comm and the start time in clock ticks since boot, which
// with the pid identifies a process (proc_pid_stat(5), fields 2 and 22).
func nameAndStart(dir string) (name, start string) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return "?", "?"
	}
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return "?", "?"
	}
	rest := strings.Fields(string(stat[end+1:]))
	if len(rest) < 20 {
		return string(stat[open+1 : end]), "?"
	}
	return string(stat[open+1 : end]), rest[19]
}

// FDs lists the descriptors of one process by what they refer to, without the
// numbers that differ from run to run.
func FDs(pid int) (Snapshot, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s := Snapshot{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || target == dir {
			continue
		}
		if kind, _, ok := strings.Cut(target, ":["); ok && !strings.HasPrefix(target, "/") && kind != "anon_inode" {
			target = kind
		}
		s.add("fd %s", target)
	}
	return s, nil
}
