package pod

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// processes are the pids of this PID namespace.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		panic(err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cmdline is nil for processes that ended.
func cmdline(pid int) []string {
	data, err := os.ReadFile(procPath(pid, "cmdline"))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(data, []byte{0})), "\x00")
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// childrenOf lists the processes whose parent is pid, zombies included.
func childrenOf(pid int) []int {
	var out []int
	for _, p := range processes() {
		if procStatus(p)["PPid"] == strconv.Itoa(pid) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// procStatus is /proc/PID/status; nil for a process that ended.
func procStatus(pid int) map[string]string {
	data, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return nil
	}
	return statusFields(string(data))
}

func statusFields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		out[name] = strings.TrimSpace(value)
	}
	return out
}

// namespaces are the inodes of a process's namespaces by kind, as links name them.
func namespaces(t *testing.T, pid int) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, kind := range []string{"net", "ipc", "uts", "pid", "mnt", "cgroup", "user"} {
		target, err := os.Readlink(procPath(pid, "ns/"+kind))
		if err != nil {
			t.Fatal(err)
		}
		out[kind] = target
	}
	return out
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	await(t, fmt.Sprintf("process %d ends", pid), func() error {
		if state := procStatus(pid)["State"]; state != "" && !strings.HasPrefix(state, "Z") {
			return fmt.Errorf("state %s", state)
		}
		return nil
	})
}

func fmtInt(n int) string { return strconv.Itoa(n) }
