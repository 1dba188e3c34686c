package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// processes says which processes are the runtime's: those known by number, or all with a name.
type processes struct {
	pids  []int
	names []string
}

// find lists them as they are now.
func (p processes) find() []int {
	if p.pids != nil {
		return p.pids
	}
	var found []int
	for _, pid := range allPids() {
		if comm, err := os.ReadFile(procFile(pid, "comm")); err == nil && slices.ContainsFunc(p.names, func(name string) bool {
			return truncated(name) == string(bytes.TrimSpace(comm))
		}) {
			found = append(found, pid)
		}
	}
	return found
}

// truncated is a name as comm has it (proc_pid_comm(5)).
func truncated(name string) string { return name[:min(len(name), 15)] }

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

func allPids() []int {
	entries, _ := os.ReadDir("/proc") // no /proc, nothing found
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pss sums the proportional set sizes, proc_pid_smaps(5). Those of processes that have ended are 0.
func pss(pids []int) (sum int64) {
	for _, pid := range pids {
		text, _ := os.ReadFile(procFile(pid, "smaps_rollup"))
		for line := range strings.Lines(string(text)) {
			var kib int64
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sum += kib << 10
			}
		}
	}
	return sum
}

// cpu sums the time the processes' threads have run, from schedstat, which counts nanoseconds.
func cpu(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		threads, _ := filepath.Glob(procFile(pid, "task/*/schedstat")) // the pattern is well-formed
		for _, file := range threads {
			text, _ := os.ReadFile(file) // a thread that has ended counts no more
			var ns int64
			if n, _ := fmt.Sscan(string(text), &ns); n == 1 {
				sum += time.Duration(ns)
			}
		}
	}
	return sum
}

// available is MemAvailable in bytes, proc_meminfo(5).
func available() (bytes int64) {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			bytes = kib << 10
		}
	}
	return bytes
}

func countMounts() int {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	return bytes.Count(text, []byte("\n"))
}
