package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/spec"
)

// devices lists the device nodes beyond the default ones, and the cgroup's rules for all of them.
func devices(c *spec.Container) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	if c.Security.Privileged {
		nodes, err := hostDevices("/dev", "/dev")
		return nodes, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, err
	}
	rules := cgroup.DefaultDevices()
	var nodes []specs.LinuxDevice
	for i, d := range c.Devices {
		found, err := device(d)
		if err != nil {
			return nil, nil, fmt.Errorf("devices[%d]: %w", i, err)
		}
		for _, n := range found {
			nodes = append(nodes, n)
			major, minor := n.Major, n.Minor
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &major, Minor: &minor, Access: d.Permissions})
		}
	}
	return nodes, rules, nil
}

// device is one node, or those of a directory; symbolic links are followed.
func device(d spec.Device) ([]specs.LinuxDevice, error) {
	path, err := filepath.EvalSymlinks(d.HostPath)
	if err != nil {
		return nil, fmt.Errorf("host_path: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("host_path: %w", err)
	}
	if info.IsDir() {
		return hostDevices(path, d.ContainerPath)
	}
	node, err := deviceNode(path, d.ContainerPath)
	if err != nil {
		return nil, err
	}
	return []specs.LinuxDevice{node}, nil
}

var errNoDevice = errors.New("not a device")

func deviceNode(host, container string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Lstat(host, &st); err != nil {
		return specs.LinuxDevice{}, &os.PathError{Op: "stat", Path: host, Err: err}
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, fmt.Errorf("host_path %s: %w: %w", host, errNoDevice, errdefs.ErrInvalidArgument)
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Path: container, Type: kind, FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
	}, nil
}

// hostDevices are the nodes below a directory, but for terminals and what the container has its
// own of. Nodes that vanish meanwhile are left out.
func hostDevices(host, container string) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir(host, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			switch path {
			case "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/.lxc", "/dev/.udev":
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeDevice == 0 || path == "/dev/console" {
			return nil
		}
		node, err := deviceNode(path, container+strings.TrimPrefix(path, host))
		if err == nil {
			out = append(out, node)
		}
		return nil
	})
	return out, err
}
