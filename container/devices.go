package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/spec"
)

// devices lists the device nodes beyond the default ones, and the cgroup's rules for all of them. A privileged
// container has all of the host's, at the places that the request does not give to others.
func devices(r Request) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	set := deviceSet{rules: cgroup.DefaultDevices(), places: map[string]specs.LinuxDevice{}, access: map[specs.LinuxDevice]string{}}
	for i, d := range r.Spec.Devices {
		if err := set.add(d); err != nil {
			return nil, nil, fmt.Errorf("devices[%d].%w", i, err)
		}
	}
	if r.OwnDevices {
		set.giveTo(r.Spec.Security.User)
	}
	if !r.Spec.Security.Privileged {
		return set.nodes, set.rules, nil
	}
	all, err := nodesBelow("/dev", "/dev")
	if err != nil {
		return nil, nil, err
	}
	for _, n := range all {
		if _, taken := set.places[n.Path]; !taken {
			set.nodes = append(set.nodes, n)
		}
	}
	return set.nodes, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, nil
}

// deviceSet is what a request's devices come to, as far as they were added.
type deviceSet struct {
	nodes  []specs.LinuxDevice
	rules  []specs.LinuxDeviceCgroup
	places map[string]specs.LinuxDevice // by path: which device
	access map[specs.LinuxDevice]string // by device: the permissions asked for
}

// number is a device without what its nodes differ in.
func number(d specs.LinuxDevice) specs.LinuxDevice {
	return specs.LinuxDevice{Type: d.Type, Major: d.Major, Minor: d.Minor}
}

// add refuses what contradicts an earlier device: another one at the same place, or other permissions,
// which a cgroup has for each device and not for each node. The same again is fine.
func (s *deviceSet) add(d spec.Device) error {
	found, err := nodesAt(d)
	if err != nil {
		return fmt.Errorf("host_path: %w", err)
	}
	access := canonical(d.Permissions)
	for _, n := range found {
		isDefault, err := defaultDevice(n)
		if err != nil {
			return fmt.Errorf("container_path: %w", err)
		}
		if isDefault {
			continue
		}
		id := number(n)
		if other, ok := s.places[n.Path]; ok && other != id {
			return fmt.Errorf("container_path: %s is given to two devices, %s and %s: %w", n.Path, describe(other), describe(id), errdefs.ErrInvalidArgument)
		}
		if before, ok := s.access[id]; ok && before != access {
			return fmt.Errorf("permissions: device %s is asked for with both %s and %s: %w", describe(id), before, access, errdefs.ErrInvalidArgument)
		}
		if _, again := s.places[n.Path]; !again {
			s.nodes = append(s.nodes, n)
		}
		s.places[n.Path], s.access[id] = id, access
		s.rules = append(s.rules, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &id.Major, Minor: &id.Minor, Access: access})
	}
	return nil
}

// giveTo makes the devices belong to a user as far as the request names one, by number.
func (s *deviceSet) giveTo(u spec.User) {
	for i := range s.nodes {
		if u.UID != nil {
			s.nodes[i].UID = u.UID
		}
		if u.GID != nil {
			s.nodes[i].GID = u.GID
		}
	}
}

func describe(d specs.LinuxDevice) string { return fmt.Sprintf("%s %d:%d", d.Type, d.Major, d.Minor) }

// canonical puts permissions into one order.
func canonical(permissions string) string {
	var out strings.Builder
	for _, c := range "rwm" {
		if strings.ContainsRune(permissions, c) {
			out.WriteRune(c)
		}
	}
	return out.String()
}

// defaultDevice says whether a device is one that every container has at its place; another one there is
// refused.
func defaultDevice(d specs.LinuxDevice) (bool, error) {
	for _, n := range defaultNodes {
		if d.Path != "/dev/"+n.name {
			continue
		}
		if d.Type != "c" || d.Major != int64(n.node.Major) || d.Minor != int64(n.node.Minor) {
			return false, fmt.Errorf("%s is the same device in every container and cannot be %s: %w", d.Path, describe(d), errdefs.ErrInvalidArgument)
		}
		return true, nil
	}
	return d.Path == "/dev/ptmx", nil // a link, to that of the container's own terminals
}

var errNoDevice = errors.New("not a device")

// nodesAt is one node, or those of a directory; symbolic links are followed.
func nodesAt(d spec.Device) ([]specs.LinuxDevice, error) {
	host, err := filepath.EvalSymlinks(d.HostPath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	info, err := os.Stat(host)
	if err != nil {
		return nil, err
	}
	place := path.Clean(d.ContainerPath)
	if !info.IsDir() {
		node, err := nodeOf(host, place)
		return []specs.LinuxDevice{node}, err
	}
	nodes, err := nodesBelow(host, place)
	if err == nil && len(nodes) == 0 {
		err = fmt.Errorf("%s: no devices in this directory: %w", host, errdefs.ErrInvalidArgument)
	}
	return nodes, err
}

func nodeOf(host, container string) (specs.LinuxDevice, error) {
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
		return specs.LinuxDevice{}, fmt.Errorf("%s: %w: %w", host, errNoDevice, errdefs.ErrInvalidArgument)
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Path: container, Type: kind, FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
	}, nil
}

// nodesBelow are the nodes below a directory of the host, but for terminals and what the container has
// its own of. Nodes that vanish meanwhile are left out.
func nodesBelow(host, container string) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir(host, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			switch p {
			case "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/.lxc", "/dev/.udev":
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeDevice == 0 || p == "/dev/console" {
			return nil
		}
		node, err := nodeOf(p, path.Join(container, strings.TrimPrefix(p, host)))
		if err == nil {
			out = append(out, node)
		}
		return nil
	})
	return out, err
}
