package container

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/nsutil"
)

// defaultNodes are the devices every container has (runtime-spec config-linux.md, "Default
// Devices").
var defaultNodes = []struct {
	name string
	node nsutil.DeviceNode
}{
	{"null", nsutil.DeviceNode{Major: 1, Minor: 3, Mode: 0o666}},
	{"zero", nsutil.DeviceNode{Major: 1, Minor: 5, Mode: 0o666}},
	{"full", nsutil.DeviceNode{Major: 1, Minor: 7, Mode: 0o666}},
	{"random", nsutil.DeviceNode{Major: 1, Minor: 8, Mode: 0o666}},
	{"urandom", nsutil.DeviceNode{Major: 1, Minor: 9, Mode: 0o666}},
	{"tty", nsutil.DeviceNode{Major: 5, Minor: 0, Mode: 0o666}},
}

// defaultLinks are the symbolic links every container has (runtime-linux.md, "Dev symbolic links").
var defaultLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// populateDev fills the container's /dev. In a user namespace mknod(2) is not allowed: there the
// host's nodes are bound onto empty files. A volume has what it has: it is somebody else's, and may change under us.
func (c *compiler) populateDev() {
	if !ownDev(c.OCI) {
		return
	}
	dev := c.b.OpenExact(c.root, "/dev").FD()
	c.b.Umask(0) // nodes have exact modes
	for _, d := range defaultNodes {
		if c.userNS() {
			c.bindNode("/dev/" + d.name)
		} else {
			c.b.Node(dev, d.name, d.node)
		}
	}
	for _, l := range defaultLinks {
		c.b.Symlink(l[0], dev, l[1])
	}
	for _, d := range c.OCI.Linux.Devices {
		isDefault, _ := defaultDevice(d) // what contradicts was refused when the specification was made
		switch {
		case isDefault:
		case c.userNS():
			c.bindNode(d.Path)
		default:
			c.device(d)
		}
	}
}

func (c *compiler) device(d specs.LinuxDevice) {
	dir, name := path.Split(path.Clean(d.Path))
	parent := c.root
	if dir = strings.TrimSuffix(dir, "/"); dir != "" {
		parent = c.b.Place(c.root, dir, false).FD()
	}
	c.b.Node(parent, name, node(d))
}

// node is a device in mknod's terms.
func node(d specs.LinuxDevice) nsutil.DeviceNode {
	n := nsutil.DeviceNode{Major: uint32(d.Major), Minor: uint32(d.Minor), Mode: 0o666}
	switch d.Type {
	case "b":
		n.Kind = nsutil.BlockDevice
	case "p":
		n.Kind = nsutil.FIFO
	}
	if d.FileMode != nil {
		n.Mode = uint32(d.FileMode.Perm())
	}
	if d.UID != nil {
		n.UID = *d.UID
	}
	if d.GID != nil {
		n.GID = *d.GID
	}
	return n
}

// bindNode binds a prepared device node onto an empty file.
func (c *compiler) bindNode(dest string) {
	place := c.b.Place(c.root, dest, true)
	c.b.Attach(c.b.File(c.Prepared.Nodes[dest], dest), place.FD())
}
