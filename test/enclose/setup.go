package enclose

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// emptied are directories where runtimes, kubelets and CNI plugins keep things at places that
// cannot be configured.
var emptied = []string{"/run", "/var/lib", "/var/log"}

// systemdDir is where systemd can be asked for cgroups; if it is process 1 there is no other who makes them.
const systemdDir = "/run/systemd"

// setUp makes new namespaces usable.
func setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	back, err := hold(systemdDir)
	if err != nil {
		return err
	}
	for _, dir := range emptied {
		if err := empty(dir); err != nil {
			return err
		}
	}
	if err := back(); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	return nil
}

// hold takes hold of a directory, and returns what puts it back where it was. One that is not there is none.
func hold(dir string) (back func() error, err error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOENT) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", dir, err)
	}
	return func() error {
		defer unix.Close(tree)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("put %s back: %w", dir, err)
		}
		return nil
	}, nil
}

// empty puts an empty file system in the place of dir and of what is mounted below it.
func empty(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		if place := strings.Fields(line)[4]; strings.HasPrefix(place, dir+"/") {
			_ = unix.Unmount(place, unix.MNT_DETACH) // it may have gone with one above it
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}
