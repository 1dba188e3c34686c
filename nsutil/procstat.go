package nsutil

import (
	"fmt"
	"os"
	"strings"
)

// ProcStat is what /proc/PID/stat said, proc_pid_stat(5), from the third field on.
type ProcStat []string

// ReadProcStat reads it; without any field: there is no such process.
func ReadProcStat(pid int) ProcStat {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // nothing, then
	text := string(stat)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the second, the name, may have anything in it
}

// Field is the n-th, as the manual page counts; empty: there is none. Preconditions: n >= 3.
func (s ProcStat) Field(n int) string {
	if len(s) < n-2 {
		return ""
	}
	return s[n-3]
}
