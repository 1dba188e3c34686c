package container

import (
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/nsutil"
	"tare/sandbox"
)

// prepareNodes gets the device nodes that a program inside a user namespace cannot make: the default ones
// are the host's, the specification's are made.
func (p *Prepared) prepareNodes(oci *specs.Spec, sb *sandbox.Sandbox) error {
	if sb.Namespaces[sandbox.User] == nil {
		return nil
	}
	p.Nodes = map[string]*os.File{}
	for _, d := range defaultNodes {
		f, err := nsutil.CloneMount("/dev/"+d.name, false)
		if err != nil {
			return err
		}
		p.Nodes["/dev/"+d.name] = f
	}
	if len(oci.Linux.Devices) == 0 {
		return nil
	}
	return p.makeNodes(oci.Linux)
}

// makeNodes makes the nodes in a tmpfs that nobody sees, and which is gone with the last mount of one. So a
// device may have any name, owner and mode in the container, whatever the host has.
func (p *Prepared) makeNodes(l *specs.Linux) error {
	fs, err := nsutil.FSOpen("tmpfs")
	if err != nil {
		return err
	}
	defer fs.Close()
	dir, err := fs.Mount(0)
	if err != nil {
		return err
	}
	defer dir.Close()
	attached, err := inSight(dir)
	if err != nil {
		return err
	}
	defer attached.Close()
	for i, d := range l.Devices {
		if isDefault, _ := defaultDevice(d); isDefault {
			continue
		}
		n, name := node(d), strconv.Itoa(i)
		n.UID, n.GID = hostID(l.UIDMappings, n.UID), hostID(l.GIDMappings, n.GID)
		if err := nsutil.MakeNode(dir, name, n); err != nil {
			return fmt.Errorf("device %s: %w", d.Path, err)
		}
		mount, err := cloneAt(dir, name)
		if err != nil {
			return fmt.Errorf("device %s: %w", d.Path, err)
		}
		p.Nodes[d.Path] = mount
	}
	return nil
}

// hostID is what a container's id is on the host. One without a mapping is the host's root, which the
// container sees as nobody (user_namespaces(7)).
func hostID(maps []specs.LinuxIDMapping, id uint32) uint32 {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return 0
}
