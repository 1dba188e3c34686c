package cgroup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Driver says who makes cgroup directories.
type Driver string

// The drivers, as the kubelet's cgroupDriver names them.
const (
	DriverAuto     Driver = ""         // what Detect finds
	DriverCgroupfs Driver = "cgroupfs" // we do, by mkdir(2)
	DriverSystemd  Driver = "systemd"  // systemd does, as units
)

// Mode is how the host has its cgroup file systems mounted.
type Mode int

// The modes, in systemd's words.
const (
	Legacy  Mode = iota // v1 only
	Hybrid              // v1 controllers, and a v2 hierarchy without any
	Unified             // v2 only
)

func (m Mode) String() string {
	return [...]string{"v1", "hybrid", "v2"}[m]
}

const (
	mountRoot   = "/sys/fs/cgroup"
	unifiedRoot = mountRoot + "/unified" // systemd's place for v2 in hybrid mode
)

// Detect says how this host mounts cgroups and which driver suits it: systemd where it is pid
// 1 on v2, since it then is the one writer of the tree (systemd.io/CGROUP_DELEGATION), else cgroupfs.
func Detect() (Mode, Driver, error) {
	v2, err := isCgroup2(mountRoot)
	switch {
	case err != nil:
		return Legacy, "", err
	case v2 && systemdBooted():
		return Unified, DriverSystemd, nil
	case v2:
		return Unified, DriverCgroupfs, nil
	}
	if v2, err := isCgroup2(unifiedRoot); err == nil && v2 {
		return Hybrid, DriverCgroupfs, nil
	}
	return Legacy, DriverCgroupfs, nil
}

func isCgroup2(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("detect cgroup version: %w", &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// systemdBooted reports whether pid 1 is systemd, by the test sd_booted(3) documents.
func systemdBooted() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}
