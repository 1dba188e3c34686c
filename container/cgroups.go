package container

import (
	"tare/cgroup"
	"tare/nsutil"
)

// cgroupType is what specifications call the mounts of cgroup v1, of all hierarchies together.
const cgroupType = "cgroup"

// mountCgroups makes what is /sys/fs/cgroup on v1, attached nowhere, while the host's is in sight: a tmpfs, and
// beside it the container's own directory of each hierarchy. That is cloned from the host's mount, which
// is one system call where a mount is four, and possible in a user namespace. That it is the root of its
// hierarchy, says the cgroup namespace (cgroup_namespaces(7)).
func (c *compiler) mountCgroups() nsutil.Slot {
	for _, d := range c.Cgroup.Shown {
		c.cgroups = append(c.cgroups, c.b.CloneHost(d.Path))
	}
	return c.b.Mount("tmpfs", 0, nsutil.Option{Key: "source", Value: "cgroup"}, nsutil.Option{Key: "mode", Value: "755"})
}

// attachCgroups completes the tree, once its root is in place. The attributes come last, for all of it at once.
func (c *compiler) attachCgroups(root nsutil.FD, a nsutil.MountAttr) {
	for i, d := range c.Cgroup.Shown {
		c.b.Mkdir(root, d.Hierarchy, 0o755)
		c.b.AttachAt(c.cgroups[i].FD(), root, d.Hierarchy)
		c.linkControllers(root, d)
	}
	a.Recursive = true
	c.b.SetAttr(root, "", a)
}

// linkControllers gives controllers of a hierarchy with several the names that programs look for.
func (c *compiler) linkControllers(root nsutil.FD, d cgroup.Directory) {
	for _, name := range d.Controllers {
		if name != d.Hierarchy {
			c.b.Symlink(d.Hierarchy, root, name)
		}
	}
}
