package container

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/nsutil"
)

// cgroupType is what specifications call the mounts of cgroup v1, of all hierarchies together.
const cgroupType = "cgroup"

// cloneCgroups takes what is below /sys/fs/cgroup on v1, the container's own directory of each hierarchy, attached nowhere, if
// the container has such a mount. It is cloned from the host's, which is one system call where a mount is four, and
// possible in a user namespace. That it is the root of its hierarchy, says the cgroup namespace (cgroup_namespaces(7)).
func (c *compiler) cloneCgroups() {
	if slices.ContainsFunc(c.OCI.Mounts, func(m specs.Mount) bool { return m.Type == cgroupType }) {
		for _, d := range c.Cgroup.Shown {
			c.cgroups = append(c.cgroups, c.b.CloneHost(d.Path))
		}
	}
}

// mountCgroups makes the tmpfs that they are attached on.
func mountCgroups(b *nsutil.Builder) nsutil.Slot {
	return b.Mount("tmpfs", 0, nsutil.Option{Key: "source", Value: "cgroup"}, nsutil.Option{Key: "mode", Value: "755"})
}

// attachCgroups completes the tree, once its root is in place. The attributes come last, for all of it at once.
func (c *compiler) attachCgroups(root nsutil.FD, a nsutil.MountAttr) {
	for i, d := range c.Cgroup.Shown {
		c.b.Mkdir(root, d.Hierarchy, 0o755)
		c.b.AttachAt(c.cgroups[i].FD(), root, d.Hierarchy)
		linkControllers(c.b, root, d)
	}
	a.Recursive, a.Propagation = true, unix.MS_PRIVATE // what is mounted there must not travel to the host, which has them cloned
	c.b.SetAttr(root, "", a)
}

// linkControllers gives controllers of a hierarchy with several the names that programs look for.
func linkControllers(b *nsutil.Builder, root nsutil.FD, d cgroup.Directory) {
	for _, name := range d.Controllers {
		if name != d.Hierarchy {
			b.Symlink(d.Hierarchy, root, name)
		}
	}
}
