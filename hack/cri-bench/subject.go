package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare/hack/node"
	"tare/test/enclose"
)

// subject is a runtime that is measured.
type subject struct {
	name      string
	cri       *node.CRI
	endpoint  string
	processes processes
	userns    bool        // pods with user namespaces are possible
	chain     string      // configuration of the plugins that are executed for its pods; "": there are none, or they are not measured
	hollow    bool        // nothing runs in its pods
	own       *accounting // nil: it runs elsewhere
	cgroup    string      // parent of the pods'

	start func(context.Context) error // nil: it runs already
	end   func() error                // the daemon alone
	stop  func() error                // with all it has
}

// open starts the runtime and connects to it.
func (s *subject) open(ctx context.Context) error {
	if s.own != nil {
		if err := s.own.make(); err != nil {
			return err
		}
	}
	if s.start != nil {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	return s.connect()
}

func (s *subject) connect() (err error) {
	s.cri, err = node.Dial(s.endpoint)
	return err
}

func (s *subject) close() error {
	var errs []error
	if s.cri != nil {
		errs = append(errs, s.cri.Close())
	}
	if s.stop != nil {
		errs = append(errs, s.stop())
	}
	if s.own != nil {
		errs = append(errs, s.own.remove())
	}
	return errors.Join(errs...)
}

// cpu is the CPU time of the runtime, all it executes and its containers.
func (s *subject) cpu() time.Duration {
	if s.own != nil {
		return s.own.read()
	}
	return cpu(s.processes.find())
}

// accounting is a cgroup with one group for a runtime's processes and one for its pods: what ends in it still
// counts.
type accounting struct{ dir, usage string }

// newAccounting uses the hierarchy that counts CPU time on this machine.
func newAccounting(name string) *accounting {
	outer := cmp.Or(os.Getenv(enclose.OuterVar), strconv.Itoa(os.Getpid())) // cgroups are the machine's
	name = "cri-bench-" + outer + "-" + name
	const v1 = "/sys/fs/cgroup/cpuacct"
	if _, err := os.Stat(v1); err == nil {
		return &accounting{filepath.Join(v1, name), "cpuacct.usage"}
	}
	return &accounting{filepath.Join("/sys/fs/cgroup", name), "cpu.stat"}
}

// pods is the parent of the pods' cgroups, in every hierarchy.
func (a *accounting) pods() string { return "/" + filepath.Base(a.dir) + "/pods" }

// prefix is a command that enters the runtime's group and executes what follows.
func (a *accounting) prefix() []string {
	return []string{"/bin/sh", "-c", `echo $$ >"$0"; exec "$@"`, filepath.Join(a.dir, "runtime", "cgroup.procs")}
}

func (a *accounting) make() error { return os.MkdirAll(filepath.Join(a.dir, "runtime"), 0o755) }

func (a *accounting) read() time.Duration {
	text, _ := os.ReadFile(filepath.Join(a.dir, a.usage)) // removed: nothing ran since
	if a.usage == "cpu.stat" {
		first, _, _ := strings.Cut(strings.TrimPrefix(string(text), "usage_usec "), "\n")
		us, _ := strconv.ParseInt(first, 10, 64)
		return time.Duration(us) * time.Microsecond
	}
	ns, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return time.Duration(ns)
}

// remove removes the groups from all hierarchies, where runtimes have made them for pods. What is left in them
// after an error dies.
func (a *accounting) remove() error {
	name := filepath.Base(a.dir)
	a.kill()
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + name) // well-formed
	dirs = append(dirs, filepath.Join("/sys/fs/cgroup", name))
	var errs []error
	for _, dir := range dirs {
		left, _ := filepath.Glob(filepath.Join(dir, "pods", "*", "tasks")) // well-formed
		for i := range left {
			left[i] = filepath.Dir(left[i])
		}
		for _, sub := range append(left, filepath.Join(dir, "runtime"), filepath.Join(dir, "pods"), dir) {
			if err := rmdir(sub); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// kill ends what runs in the groups.
func (a *accounting) kill() {
	_ = filepath.WalkDir(a.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			text, _ := os.ReadFile(path) // gone: nobody is in it
			for pid := range strings.FieldsSeq(string(text)) {
				if n, err := strconv.Atoi(pid); err == nil && n > 1 {
					_ = unix.Kill(n, unix.SIGKILL) // it may have ended
				}
			}
		}
		return nil
	})
}

// rmdir removes a cgroup, which may still hold processes that are ending.
func rmdir(dir string) error {
	for range 200 {
		switch err := unix.Rmdir(dir); {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return &os.PathError{Op: "rmdir", Path: dir, Err: unix.EBUSY}
}
