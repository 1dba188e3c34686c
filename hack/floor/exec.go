package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// container is a process in namespaces and cgroups of its own, into which commands are executed.
type container struct {
	pid    int
	pidfd  *os.File
	groups []string   // directories
	procs  []*os.File // their tasks, or cgroup.procs in version 2
}

const ownNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET

// newContainer makes one that runs until it is ended.
func newContainer() (c *container, err error) {
	c = &container{groups: cgroups("container")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end())
		}
	}()
	for _, dir := range c.groups {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new group of cgroup v1, cpuset(7)
			if data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name)); err == nil && filepath.Base(filepath.Dir(dir)) == "cpuset" {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0); err != nil {
					return nil, err
				}
			}
		}
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0) // package cgroup says why
		if os.IsNotExist(err) {
			f, err = os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		}
		if err != nil {
			return nil, err
		}
		c.procs = append(c.procs, f)
	}
	b := nsutil.NewBuilder()
	b.CloneFlags(unix.CLONE_NEWPID)
	c.join(b)
	b.Unshare(ownNamespaces)
	b.Exec([]string{"/bin/sleep"}, []string{"sleep", "1000"}, nil)
	st, err := nsutil.Launch(b.Program(), nsutil.Watch{Forked: func(pid int) error { c.pid = pid; return nil }})
	c.pidfd = st.PidFD
	return c, err
}

func (c *container) join(b *nsutil.Builder) {
	for _, f := range c.procs {
		b.Write(b.File(f, "cgroup"), "0")
	}
}

// end takes all of it away.
func (c *container) end() error {
	var errs []error
	if c.pid > 0 {
		errs = append(errs, syscall.Kill(c.pid, syscall.SIGKILL))
		_, err := syscall.Wait4(c.pid, nil, 0, nil)
		errs = append(errs, err)
	}
	if c.pidfd != nil {
		errs = append(errs, c.pidfd.Close())
	}
	for _, f := range c.procs {
		errs = append(errs, f.Close())
	}
	for _, dir := range c.groups {
		if err := os.Remove(dir); !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// defaultCaps are those of a container that asks for none, and lastCap is the last there is.
const (
	defaultCaps = 0xa80425fb
	lastCap     = unix.CAP_LAST_CAP
)

// execTrue executes a command in the container by the calls it takes and no others: two forks, as it is to appear in the PID
// namespace last (container.Enter), and three pipes, one of which is read to its end.
func (c *container) execTrue() (err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	out, outEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	defer outEnd.Close()
	errOut, errEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer errOut.Close()
	defer errEnd.Close()

	b := nsutil.NewBuilder()
	c.join(b)
	b.WriteFile("/proc/self/oom_score_adj", "0")
	b.SetNS(b.File(c.pidfd, "container"), ownNamespaces|unix.CLONE_NEWPID)
	b.Stdio(b.File(null, "stdin"), b.File(outEnd, "stdout"), b.File(errEnd, "stderr"))
	b.CloseAbove2()
	b.SessionKeyring()
	b.Umask(0o022)
	b.LimitBounding(defaultCaps, lastCap)
	b.KeepCaps()
	b.SetIDs(0, 0, nil)
	b.ChdirInside("/")
	caps := nsutil.Caps{Effective: defaultCaps, Permitted: defaultCaps}
	b.SetCaps(caps)
	b.Fork()
	b.NewSession(false)
	b.SetCaps(caps)
	b.Exec([]string{"/bin/true"}, []string{"true"}, nil)

	var pids []int
	st, err := nsutil.Launch(b.Program(), nsutil.Watch{Forked: func(pid int) error { pids = append(pids, pid); return nil }})
	outEnd.Close()
	errEnd.Close()
	if err == nil {
		st.PidFD.Close()
		_, err1 := io.Copy(io.Discard, out)
		_, err2 := io.Copy(io.Discard, errOut)
		err = errors.Join(err1, err2)
	}
	for _, pid := range pids {
		var status syscall.WaitStatus
		if _, werr := syscall.Wait4(pid, &status, 0, nil); werr != nil || status != 0 {
			err = errors.Join(err, werr, errors.New("process "+strconv.Itoa(pid)+" failed"))
		}
	}
	return err
}
