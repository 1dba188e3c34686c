package nsutil

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Propagation says how the mount that path is on exchanges mounts with others: shared (both
// ways), slave (from its master), both, or neither (mount_namespaces(7)).
func Propagation(path string) (shared, slave bool, err error) {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	id, err := mountID(f)
	if err != nil {
		return false, false, err
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, false, err
	}
	defer table.Close()
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), id+" "); ok {
			options, _, _ := strings.Cut(line, " - ")
			return strings.Contains(options, " shared:"), strings.Contains(options, " master:"), nil
		}
	}
	if err := lines.Err(); err != nil {
		return false, false, err
	}
	return false, false, fmt.Errorf("%s is on mount %s, which is not in /proc/self/mountinfo", path, id)
}

// mountID is the number of the mount that f is on, as /proc/self/mountinfo has it (proc(5), fdinfo).
func mountID(f *os.File) (string, error) {
	path := fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd())
	data, err := os.ReadFile(path)
	runtime.KeepAlive(f)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", fmt.Errorf("%s: no mnt_id", path)
}
