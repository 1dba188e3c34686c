package nsutil

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A probe tries one thing that not every kernel, or not every set of privileges, allows: for real,
// in a child or on a mount that nobody else sees. It returns nil, or why not. Probes that depend on nothing
// but the kernel and this process's privileges are tried once; the others take what they depend on.

// Run runs a program in a child and returns what it gave, once the child has gone. The caller
// closes the files. Not for a process that waits for any child, as the keeper does.
func Run(p *Program) ([]*os.File, error) {
	var pids []int
	st, err := Launch(p, Watch{Forked: func(pid int) error { pids = append(pids, pid); return nil }})
	for _, pid := range pids {
		reap(pid)
	}
	if err != nil {
		return nil, p.Explain(err)
	}
	st.PidFD.Close()
	return st.Given, nil
}

func reap(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// runOne is Run for a program that gives one file.
func runOne(p *Program) (*os.File, error) {
	files, err := Run(p)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		for _, f := range files {
			f.Close()
		}
		return nil, fmt.Errorf("the program gave %d descriptors, not one", len(files))
	}
	return files[0], nil
}

// tryAlone is Run for a program that gives nothing.
func tryAlone(p *Program) error {
	_, err := Run(p)
	return err
}

// detachedTmpfs is a mount for trying things on. The caller closes it, and it is gone.
func detachedTmpfs() (*os.File, error) {
	fs, err := FSOpen("tmpfs")
	if err != nil {
		return nil, err
	}
	defer fs.Close()
	return fs.Mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
}
