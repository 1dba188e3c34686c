package container

import (
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/containerd/errdefs"
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
	Mounts   *os.File    // a bare mount namespace (sandbox.NewBare)
	Attach   string      // an empty directory of the host, where the root is attached for hooks that see the host, too
	Cgroup   Cgroup      // to join
	Stdio    [3]*os.File // nil, all three: a terminal
	PIDNS    *os.File    // a pidfd of the process to share PIDs with; nil: see OCI
	// SharedPIDs is the namespace of PIDNS, where the kernel mounts a proc for it from outside
	// (nsutil.ProbeProcPIDNS); else nil.
	SharedPIDs *os.File
	Seccomp    *seccomp.Filter // nil: none
	// Meeting is where the program waits for the hooks of the specification; nil: it has none of
	// those that run before the command does.
	Meeting *os.File
	// Stages is where the program notes how far it has come; nil: nowhere.
	Stages *nsutil.Stages
	// OOMScoreFloor is the lowest oom_score_adj the keeper may give; lower wishes become it.
	OOMScoreFloor int
}

// Cgroup is how a process joins its cgroup: by writing itself into files (v1), or by being born
// in a directory (v2). Either may be empty.
type Cgroup struct {
	Procs []string
	Dir   *os.File
	// Shown is what a container sees of it below /sys/fs/cgroup on v1.
	Shown []cgroup.Directory
}

// Compile makes the program that sets up the container and executes its command. With a
// terminal, it gives back the console's master side.
//
// ErrInvalidArgument: the specification, which others may have edited, lacks what a container cannot be without.
func Compile(s Start) (*nsutil.Program, error) {
	if err := complete(s.OCI); err != nil {
		return nil, err
	}
	c := &compiler{Start: s, b: nsutil.NewBuilder(), kernel: map[int]nsutil.Slot{}}
	process, err := newCredentials(s.OCI.Process, s.Seccomp)
	if err != nil {
		return nil, err
	}
	c.b.Grow(320, 12<<10) // what containers take, with some volumes
	c.join()
	c.b.Stage(c.Stages, "fork, join the cgroup")
	c.leaveHost()
	c.enterNamespaces()
	c.b.Stage(c.Stages, "namespaces")
	c.mountKernel(func(string) bool { return true })
	if !ownDev(s.OCI) { // what the volume has for it may be anything (CVE-2025-31133)
		c.cloneNulls()
	}
	c.b.Stage(c.Stages, "the kernel's file systems")
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
	c.b.Stage(c.Stages, "root and volumes")
	session := c.stdio()
	if c.joinsLate() {
		process.takeForking(c.b, session)
	} else {
		session()
		process.take(c.b)
	}
	process.execute(c.b)
	return checked(c.b)
}

// checked is the program that was built, if its strings are all whole.
func checked(b *nsutil.Builder) (*nsutil.Program, error) {
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return b.Program(), nil
}

func complete(oci *specs.Spec) error {
	missing := ""
	switch {
	case oci.Process == nil || len(oci.Process.Args) == 0:
		missing = "process.args"
	case oci.Process.Capabilities == nil:
		missing = "process.capabilities"
	case oci.Root == nil:
		missing = "root"
	case oci.Linux == nil:
		missing = "linux"
	default:
		return nil
	}
	return fmt.Errorf("specification: %s is missing: %w", missing, errdefs.ErrInvalidArgument)
}

// compiler holds what the parts of one compilation share.
type compiler struct {
	Start
	b       *nsutil.Builder
	kernel  map[int]nsutil.Slot // the kernel's file systems, mounted but attached nowhere, by their index in the specification
	cgroups []nsutil.Slot       // likewise, the clone of each directory in Cgroup.Shown
	root    nsutil.FD           // the container's root, once entered
	proc    nsutil.FD           // the host's /proc, for a container with kernel parameters
	nulls   []nsutil.FD         // clones of the host's /dev/null, one for each masked path, for a container whose /dev is a volume
}

// userNS says whether the pod has a user namespace.
func (c *compiler) userNS() bool { return c.Sandbox.Namespaces[sandbox.User] != nil }

// join puts the child into its cgroup before anything else, so that all it does is accounted
// for, and sets what only the host's root may set.
func (c *compiler) join() {
	if c.Cgroup.Dir != nil {
		c.b.IntoCgroup(c.b.File(c.Cgroup.Dir, "cgroup"))
	}
	for _, file := range c.Cgroup.Procs {
		c.b.JoinCgroup(file)
	}
	adj := 0 // the keeper's own is lower
	if c.OCI.Process.OOMScoreAdj != nil {
		adj = *c.OCI.Process.OOMScoreAdj
	}
	c.b.WriteFile("/proc/self/oom_score_adj", fmt.Sprint(max(adj, c.OOMScoreFloor)))
	c.schedule()
	if c.OCI.Linux != nil { // hooks have none
		setMemoryPolicy(c.b, c.OCI.Linux.MemoryPolicy)
	}
}

// leaveHost takes along what the container gets of the host's mounts, and leaves them for a bare namespace. With hooks that run
// while the container's root is beside the host's, the mounts are copied instead.
func (c *compiler) leaveHost() {
	c.cloneCgroups()
	if len(c.OCI.Linux.Sysctl) > 0 {
		c.proc = c.b.Open("/proc", unix.O_PATH).FD()
	}
	if HooksBeforeRoot(c.OCI) {
		c.b.Chdir(c.Attach)
	} else {
		c.b.SetNS(c.b.File(c.Mounts, "bare"), unix.CLONE_NEWNS)
	}
}

// cloneNulls makes a clone for each path that may need one: kernels before Linux 6.15 clone none that is attached nowhere
// (__do_loopback, fs/namespace.c).
func (c *compiler) cloneNulls() {
	for range c.OCI.Linux.MaskedPaths {
		null := c.b.CloneHost(hostNull(c.OCI)).FD()
		c.b.SetAttr(null, "", nsutil.MountAttr{Set: unix.MOUNT_ATTR_RDONLY}) // the host's mode and owner stay
		c.nulls = append(c.nulls, null)
	}
}

// hostNull is where the host's /dev/null is when namespaces are made.
func hostNull(oci *specs.Spec) string {
	if HooksBeforeRoot(oci) {
		return "/dev/null"
	}
	return sandbox.BareNull
}

// enterNamespaces joins the pod's and makes the container's own. The user namespace comes first:
// it is what gives the right to the rest.
func (c *compiler) enterNamespaces() {
	for _, kind := range []sandbox.Kind{sandbox.User, sandbox.Net, sandbox.IPC, sandbox.UTS, sandbox.Time} {
		if f := c.Sandbox.Namespaces[kind]; f != nil {
			c.b.SetNS(c.b.File(f, "pod"), kind.Flag())
		}
	}
	if owns(c.OCI, specs.UserNamespace) {
		c.nest()
		return
	}
	c.joinPIDs()
	c.ownNamespaces()
	if c.userNS() {
		c.b.SetIDs(0, 0, nil)
	}
	sandbox.SetSysctls(c.b, c.proc, c.OCI.Linux.Sysctl)
}

// joinsLate says whether the container appears among its neighbours as late as a command in it does (enter). Hooks are told
// of the process before that, and want to find all of it.
func (c *compiler) joinsLate() bool {
	return c.SharedPIDs != nil && !HooksBeforeRoot(c.OCI) && !HooksInRoot(c.OCI)
}

// joinPIDs has the program appear among the neighbours, if there are any: its children from now on, or itself from the first.
func (c *compiler) joinPIDs() {
	switch {
	case c.joinsLate():
		c.b.SetNS(c.b.File(c.SharedPIDs, "target"), unix.CLONE_NEWPID)
	case c.PIDNS != nil:
		c.b.IntoPIDs(c.b.File(c.PIDNS, "target"))
	}
}

// ownNamespaces makes the container's own. A PID namespace shows in children only: either the child is
// born in it, or it forks once more.
func (c *compiler) ownNamespaces() {
	own := unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | ownFlags(c.OCI)
	switch {
	case owns(c.OCI, specs.PIDNamespace) && c.userNS():
		c.b.Unshare(own | unix.CLONE_NEWPID)
		c.b.Fork()
	case owns(c.OCI, specs.PIDNamespace):
		c.b.CloneFlags(unix.CLONE_NEWPID)
		c.b.Unshare(own)
	default:
		c.b.Unshare(own)
	}
	if owns(c.OCI, specs.NetworkNamespace) {
		c.b.LoopbackUp()
	}
}

// mountKernel makes the mounts of these types, as far as they are not made, that belong to the namespaces
// the program is in. They are made while others of proc and sysfs are in sight: in a user namespace the
// kernel mounts new ones only then (mount_too_revealing, fs/namespace.c).
func (c *compiler) mountKernel(wanted func(fstype string) bool) {
	for i, m := range c.OCI.Mounts {
		if _, made := c.kernel[i]; made || c.Prepared.Sources[i].File != nil || !wanted(m.Type) {
			continue
		}
		if m.Type == cgroupType {
			c.kernel[i] = mountCgroups(c.b)
			continue
		}
		o := parseOptions(m)
		options := append([]nsutil.Option{{Key: "source", Value: m.Source}}, o.data...)
		if m.Type == "proc" && c.joinsLate() {
			pids := c.b.File(c.SharedPIDs, "target")
			options = append(options, nsutil.Option{Key: nsutil.ProcPIDNS, File: &pids})
		}
		c.kernel[i] = c.b.Mount(m.Type, o.attr.Set, options...)
	}
}

// attachRoot attaches the prepared root file system. What is attached on the way must not travel to the
// host: a mount namespace copied from its is still in its peer groups (mount_namespaces(7)).
func (c *compiler) attachRoot() nsutil.FD {
	rootfs := c.b.File(c.Prepared.Rootfs, "rootfs")
	if HooksBeforeRoot(c.OCI) {
		c.b.SetAttr(nsutil.CWD, "/", nsutil.MountAttr{Propagation: unix.MS_SLAVE, Recursive: true})
	}
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

// attachMounts attaches proc after all others: a link of the image that leads a volume to /proc, leads it below that
// (CVE-2019-16884).
func (c *compiler) attachMounts() {
	isProc := func(m specs.Mount) bool { return m.Destination == "/proc" }
	for i, m := range c.OCI.Mounts {
		if !isProc(m) {
			c.attachMount(i, m)
		}
	}
	if i := slices.IndexFunc(c.OCI.Mounts, isProc); i >= 0 {
		c.attachMount(i, c.OCI.Mounts[i])
	}
}

func (c *compiler) attachMount(i int, m specs.Mount) {
	src := c.Prepared.Sources[i]
	mount := c.kernel[i].FD()
	if src.File != nil {
		mount = c.b.File(src.File, sourceLabel(m))
	}
	exact := slices.Contains(kernelPlaces, m.Destination) || src.File == nil && m.Type != "tmpfs"
	if exact {
		c.b.Attach(mount, c.kernelPlace(m.Destination).FD())
	} else {
		c.b.Attach(mount, c.b.Place(c.root, m.Destination, !src.IsDir).FD())
	}
	if m.Type == cgroupType {
		c.attachCgroups(mount, parseOptions(m).attr)
	}
}

// kernelPlaces are where it matters that what is mounted is there, whoever mounted it (hostType).
var kernelPlaces = []string{"/proc", "/sys", "/dev"}

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
	null := func(i int) nsutil.FD { return c.nulls[i] }
	if ownDev(c.OCI) {
		own := c.b.OpenExact(c.root, "/dev/null").FD()
		null = func(int) nsutil.FD { return c.b.CloneTree(own, false).FD() }
	}
	var options []nsutil.Option
	if label := c.OCI.Linux.MountLabel; label != "" {
		options = append(options, nsutil.Option{Key: contextOption, Value: label})
	}
	for i, p := range c.OCI.Linux.MaskedPaths {
		c.b.Mask(c.root, p, func() nsutil.FD { return null(i) }, options...)
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

// stdio gives the process its descriptors: pipes, or a new terminal of the container's own devpts. It returns what
// makes the session.
func (c *compiler) stdio() (session func()) {
	if !c.OCI.Process.Terminal {
		c.pipes()
		return func() { c.b.NewSession(false) }
	}
	tty := c.b.Terminal(c.root, c.OCI.Process.User.UID)
	console := c.b.Place(c.root, "/dev/console", true)
	c.b.Attach(c.b.CloneTree(tty.FD(), false).FD(), console.FD())
	c.b.Stdio(tty.FD(), tty.FD(), tty.FD())
	return func() { c.b.NewSession(true) }
}

// pipes makes the given files the process's stdio.
func (c *compiler) pipes() {
	c.b.Stdio(c.b.File(c.Stdio[0], "stdin"), c.b.File(c.Stdio[1], "stdout"), c.b.File(c.Stdio[2], "stderr"))
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
