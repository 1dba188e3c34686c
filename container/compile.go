package container

import (
	"fmt"
	"os"
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/nsutil"
	"tare/sandbox"
	"tare/security"
	"tare/security/seccomp"
)

// Start is everything a container's program is compiled from.
type Start struct {
	OCI      *specs.Spec
	Sandbox  *sandbox.Sandbox
	Prepared *Prepared
	Attach   string          // an empty directory of the host, where the root is attached on the way
	Cgroup   Cgroup          // to join
	Stdio    [3]*os.File     // nil, all three: a terminal
	PIDNS    *os.File        // the namespace or a pidfd of the process to share PIDs with; nil: see OCI
	Seccomp  *seccomp.Filter // nil: none
	// Meeting is where the program waits for the hooks of the specification; nil: it has none of
	// those that run before the command does.
	Meeting *os.File
	// OOMScoreFloor is the lowest oom_score_adj the keeper may give; lower wishes become it.
	OOMScoreFloor int
}

// Cgroup is how a process joins its cgroup: by writing itself into files (v1), or by being born
// in a directory (v2). Either may be empty.
type Cgroup struct {
	Procs []*os.File
	Dir   *os.File
	// Shown is what a container sees of it below /sys/fs/cgroup on v1.
	Shown []cgroup.Directory
}

// Compile makes the program that sets up the container and executes its command. With a
// terminal, it gives back the console's master side.
func Compile(s Start) (*nsutil.Program, error) {
	c := &compiler{Start: s, b: nsutil.NewBuilder(), kernel: map[int]nsutil.Slot{}}
	process, err := newCredentials(s.OCI.Process, s.Seccomp)
	if err != nil {
		return nil, err
	}
	c.b.Grow(320, 12<<10) // what containers take, with some volumes
	c.join()
	c.b.Chdir(c.Attach)
	c.enterNamespaces()
	c.mountKernel(func(string) bool { return true })
	if rootfs := c.attachRoot(); HooksBeforeRoot(s.OCI) {
		c.root = rootfs
		c.fillRoot()
		c.meet()
		c.b.EnterRoot(rootfs)
	} else {
		c.enterRoot(rootfs)
		c.fillRoot()
	}
	c.finishRoot()
	if HooksInRoot(s.OCI) {
		c.meet()
	}
	c.stdio()
	process.take(c.b)
	process.execute(c.b)
	return c.b.Program(), nil
}

// compiler holds what the parts of one compilation share.
type compiler struct {
	Start
	b       *nsutil.Builder
	kernel  map[int]nsutil.Slot // the kernel's file systems, mounted but attached nowhere, by their index in the specification
	cgroups []nsutil.Slot       // likewise, the clone of each directory in Cgroup.Shown
	root    nsutil.FD           // the container's root, once entered
}

// userNS says whether the pod has a user namespace.
func (c *compiler) userNS() bool { return c.Sandbox.Namespaces[sandbox.User] != nil }

// owns says whether the container has a namespace of its own of this kind.
func (c *compiler) owns(kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(c.OCI.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// join puts the child into its cgroup before anything else, so that all it does is accounted
// for, and sets what only the host's root may set.
func (c *compiler) join() {
	if c.Cgroup.Dir != nil {
		c.b.IntoCgroup(c.b.File(c.Cgroup.Dir, "cgroup"))
	}
	for _, f := range c.Cgroup.Procs {
		c.b.Write(c.b.File(f, cgroupLabel(f)), "0")
	}
	adj := 0 // the keeper's own is lower
	if c.OCI.Process.OOMScoreAdj != nil {
		adj = *c.OCI.Process.OOMScoreAdj
	}
	c.b.WriteFile("/proc/self/oom_score_adj", fmt.Sprint(max(adj, c.OOMScoreFloor)))
}

func cgroupLabel(f *os.File) string {
	return "cgroup " + path.Base(f.Name())
}

// enterNamespaces joins the pod's and makes the container's own. The user namespace comes first:
// it is what gives the right to the rest.
func (c *compiler) enterNamespaces() {
	for _, kind := range []sandbox.Kind{sandbox.User, sandbox.Net, sandbox.IPC, sandbox.UTS, sandbox.Time} {
		if f := c.Sandbox.Namespaces[kind]; f != nil {
			c.b.SetNS(c.b.File(f, "pod"), kind.Flag())
		}
	}
	if c.PIDNS != nil {
		c.b.IntoPIDs(c.b.File(c.PIDNS, "target"))
	}
	if c.owns(specs.UserNamespace) {
		c.nest()
		return
	}
	c.ownNamespaces()
	if c.userNS() {
		c.b.SetIDs(0, 0, nil)
	}
}

// ownNamespaces makes the container's own. A PID namespace shows in children only: either the child is
// born in it, or it forks once more.
func (c *compiler) ownNamespaces() {
	const own = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP
	switch {
	case c.owns(specs.PIDNamespace) && c.userNS():
		c.b.Unshare(own | unix.CLONE_NEWPID)
		c.b.Fork()
	case c.owns(specs.PIDNamespace):
		c.b.CloneFlags(unix.CLONE_NEWPID)
		c.b.Unshare(own)
	default:
		c.b.Unshare(own)
	}
}

// mountKernel makes the mounts of these types, as far as they are not made, that belong to the namespaces
// the program is in. They are made while the host's /proc and /sys are in sight: in a user namespace the
// kernel mounts new ones only then (mount_too_revealing, fs/namespace.c).
func (c *compiler) mountKernel(wanted func(fstype string) bool) {
	for i, m := range c.OCI.Mounts {
		if _, made := c.kernel[i]; made || c.Prepared.Sources[i].File != nil || !wanted(m.Type) {
			continue
		}
		if m.Type == cgroupType {
			c.kernel[i] = c.mountCgroups()
			continue
		}
		o := parseOptions(m)
		source := nsutil.Option{Key: "source", Value: m.Source}
		c.kernel[i] = c.b.Mount(m.Type, o.attr.Set, append([]nsutil.Option{source}, o.data...)...)
	}
}

// attachRoot attaches the prepared root file system. What is attached on the way must not travel to the
// host: a copied mount namespace is still in its peer groups (mount_namespaces(7)).
func (c *compiler) attachRoot() nsutil.FD {
	rootfs := c.b.File(c.Prepared.Rootfs, "rootfs")
	c.b.SetAttr(nsutil.CWD, "/", nsutil.MountAttr{Propagation: unix.MS_SLAVE, Recursive: true})
	c.b.AttachHere(rootfs)
	return rootfs
}

// enterRoot makes what attachRoot attached the root.
func (c *compiler) enterRoot(rootfs nsutil.FD) {
	c.b.EnterRoot(rootfs)
	c.root = c.b.Open("/", unix.O_PATH).FD()
}

// fillRoot mounts and makes everything in the root.
func (c *compiler) fillRoot() {
	c.attachMounts()
	c.populateDev()
	c.hide()
}

func (c *compiler) attachMounts() {
	for i, m := range c.OCI.Mounts {
		src := c.Prepared.Sources[i]
		if src.File != nil {
			place := c.b.Place(c.root, m.Destination, !src.IsDir)
			c.b.Attach(c.b.File(src.File, sourceLabel(m)), place.FD())
			continue
		}
		place := c.kernelPlace
		if m.Type == "tmpfs" && m.Destination != "/dev" {
			place = func(dest string) nsutil.Slot { return c.b.Place(c.root, dest, false) }
		}
		c.b.Attach(c.kernel[i].FD(), place(m.Destination).FD())
		if m.Type == cgroupType {
			c.attachCgroups(c.kernel[i].FD(), parseOptions(m).attr)
		}
	}
}

func sourceLabel(m specs.Mount) string {
	if m.Source == "" {
		return m.Type
	}
	return m.Source
}

// kernelPlace is where a file system of the kernel's goes: exactly there, whatever links the
// image has.
func (c *compiler) kernelPlace(dest string) nsutil.Slot {
	if path.Dir(dest) == "/" {
		c.b.Mkdir(c.root, dest[1:], 0o755)
	} else if path.Dir(dest) == "/dev" {
		c.b.Mkdir(c.b.OpenExact(c.root, "/dev").FD(), path.Base(dest), 0o755)
	}
	return c.b.OpenExact(c.root, dest)
}

// hide masks and protects paths of proc and sysfs, after everything is in place.
func (c *compiler) hide() {
	for _, p := range c.OCI.Linux.ReadonlyPaths {
		c.b.Readonly(c.root, p)
	}
	if len(c.OCI.Linux.MaskedPaths) == 0 {
		return
	}
	null := c.b.OpenExact(c.root, "/dev/null").FD()
	var options []nsutil.Option
	if label := c.OCI.Linux.MountLabel; label != "" {
		options = append(options, nsutil.Option{Key: contextOption, Value: label})
	}
	for _, p := range c.OCI.Linux.MaskedPaths {
		c.b.Mask(c.root, p, null, options...)
	}
}

// finishRoot makes the working directory, and only then the root read-only.
func (c *compiler) finishRoot() {
	if cwd := c.OCI.Process.Cwd; cwd != "/" {
		c.b.Place(c.root, cwd, false)
	}
	if c.OCI.Root.Readonly {
		c.b.SetAttr(c.root, "", nsutil.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	}
}

// stdio gives the process its descriptors: pipes, or a new terminal of the container's own devpts.
func (c *compiler) stdio() {
	if !c.OCI.Process.Terminal {
		c.pipes()
		return
	}
	tty := c.b.Terminal(c.root, c.OCI.Process.User.UID)
	console := c.b.Place(c.root, "/dev/console", true)
	c.b.Attach(c.b.CloneTree(tty.FD(), false).FD(), console.FD())
	c.b.Stdio(tty.FD(), tty.FD(), tty.FD())
	c.b.NewSession(true)
}

// pipes makes the given files the process's stdio.
func (c *compiler) pipes() {
	c.b.Stdio(c.b.File(c.Stdio[0], "stdin"), c.b.File(c.Stdio[1], "stdout"), c.b.File(c.Stdio[2], "stderr"))
	c.b.NewSession(false)
}

// newCredentials checks and translates what the process may do.
func newCredentials(p *specs.Process, filter *seccomp.Filter) (*credentials, error) {
	c := &credentials{process: p, filter: filter}
	if p.Capabilities == nil {
		return c, nil
	}
	for _, set := range []struct {
		names []string
		mask  *uint64
	}{
		{p.Capabilities.Bounding, &c.caps.Bounding}, {p.Capabilities.Effective, &c.caps.Effective},
		{p.Capabilities.Permitted, &c.caps.Permitted}, {p.Capabilities.Inheritable, &c.caps.Inheritable},
		{p.Capabilities.Ambient, &c.caps.Ambient},
	} {
		mask, err := security.Mask(set.names)
		if err != nil {
			return nil, err
		}
		*set.mask = mask
	}
	return c, nil
}
