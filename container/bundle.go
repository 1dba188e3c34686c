package container

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
)

// Bundle is what an OCI runtime makes a container from (runtime-spec bundle.md), and how it gets at the parts: root
// and volumes, which are attached nowhere, are attached where it alone sees them.
type Bundle struct {
	Dir      string      // where the runtime is executed
	OCI      *specs.Spec // of the container
	Sandbox  *sandbox.Sandbox
	Prepared *Prepared
	PIDNS    *os.File // as in Start
	Seccomp  *specs.LinuxSeccomp
	// OOMScoreFloor is as in Start.
	OOMScoreFloor int
}

// shared is where root and volumes are attached, for the OCI runtime alone, on a tmpfs: a directory that every host has
// and that a user namespace's root, too, may walk to, as which some runtimes mount. Directories of ours are private.
const shared = "/dev/shm"

func rootPath() string        { return shared + "/rootfs" }
func volumePath(i int) string { return shared + "/" + strconv.Itoa(i) }

// Spec is the container's specification in words that all runtimes know, with the pod's namespaces.
func (b *Bundle) Spec() (*specs.Spec, error) {
	oci, linux, process := *b.OCI, *b.OCI.Linux, *b.OCI.Process
	oci.Linux, oci.Process = &linux, &process
	oci.Version = "1.0.2" // some refuse later ones, and all read what only those have, such as a scheduling policy, or pass over it (oci.Schedules)
	if !owns(b.OCI, specs.UTSNamespace) {
		oci.Hostname = "" // the pod's has it
	}
	oci.Root = &specs.Root{Path: rootPath(), Readonly: b.OCI.Root.Readonly}
	linux.Seccomp = b.Seccomp
	linux.NetDevices = nil // moved
	if process.OOMScoreAdj != nil {
		adj := max(*process.OOMScoreAdj, b.OOMScoreFloor)
		process.OOMScoreAdj = &adj
	}
	oci.Mounts = slices.Clone(b.OCI.Mounts)
	for i, m := range oci.Mounts {
		if m.Type == "cgroup2" {
			oci.Mounts[i].Type = "cgroup"
		}
		if b.Prepared.Sources[i].File != nil {
			oci.Mounts[i] = b.bind(i, m)
		}
		linux.RootfsPropagation = strongest(linux.RootfsPropagation, parseOptions(m).recursive.Propagation)
	}
	var err error
	linux.Namespaces, err = b.namespaces()
	return &oci, err
}

// bind is a volume as it is attached in the bundle, with all it is to be but how mounts travel.
func (b *Bundle) bind(i int, m specs.Mount) specs.Mount {
	options := []string{"rbind"}
	for _, o := range m.Options {
		switch o {
		case "rprivate", "rslave", "rshared", "private", "slave", "shared", "ro", "noexec", "nodev", "nosuid":
			options = append(options, o)
		case "rro":
			options = append(options, "ro") // below it, it is already
		}
	}
	return specs.Mount{Destination: m.Destination, Type: "bind", Source: volumePath(i), Options: options}
}

// strongest is how mounts have to travel into the container's namespace for a volume of it, for them to reach that.
func strongest(now string, asked uint64) string {
	switch {
	case asked == unix.MS_SHARED || now == "rshared":
		return "rshared"
	case asked == unix.MS_SLAVE:
		return "rslave"
	}
	return now
}

// namespaces are the container's own, and the pod's by descriptors of this process.
func (b *Bundle) namespaces() ([]specs.LinuxNamespace, error) {
	out := slices.DeleteFunc(slices.Clone(b.OCI.Linux.Namespaces), func(n specs.LinuxNamespace) bool { return n.Path != "" }) // the sandbox has it
	for _, t := range namespaceTypes {
		if f := b.Sandbox.Namespaces[t.kind]; f != nil && !owns(b.OCI, t.name) {
			out = append(out, specs.LinuxNamespace{Type: t.name, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())})
		}
	}
	if b.PIDNS != nil {
		pid, err := nsutil.PidfdPid(b.PIDNS)
		if err != nil {
			return nil, err
		}
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", pid)})
	}
	return out, nil
}

// Program makes the program that attaches root and volumes, in a mount namespace of its own, and executes args there.
func (b *Bundle) Program(args []string, stdio [3]*os.File) *nsutil.Program {
	c := &compiler{Start: Start{Stdio: stdio}, b: nsutil.NewBuilder()}
	all, root := places(c)
	c.b.Attach(c.b.File(b.Prepared.Rootfs, "rootfs"), root)
	for i, s := range b.Prepared.Sources {
		if s.File != nil {
			place := c.b.Place(all, "/"+strconv.Itoa(i), !s.IsDir)
			c.b.Attach(c.b.File(s.File, sourceLabel(b.OCI.Mounts[i])), place.FD())
		}
	}
	execHere(c, b.Dir, args)
	return c.b.Program()
}

// BundleCommand makes the program that executes another command of the OCI runtime in a bundle; without files for
// stdio on a terminal, whose master the program gives back. The path of the root is a directory there: runc changes
// into it first.
func BundleCommand(dir string, args []string, stdio [3]*os.File) *nsutil.Program {
	c := &compiler{Start: Start{Stdio: stdio}, b: nsutil.NewBuilder()}
	places(c)
	execHere(c, dir, args)
	return c.b.Program()
}

// places makes the directory for what is attached, and the root's in it, which the host does not see.
func places(c *compiler) (all, root nsutil.FD) {
	c.b.Unshare(unix.CLONE_NEWNS)
	c.b.SetAttr(nsutil.CWD, "/", nsutil.MountAttr{Propagation: unix.MS_SLAVE, Recursive: true})
	all = c.b.Mount("tmpfs", 0, nsutil.Option{Key: "source", Value: "tmpfs"}, nsutil.Option{Key: "mode", Value: "711"}).FD()
	c.b.Attach(all, c.b.Open(shared, unix.O_PATH).FD())
	return all, c.b.Place(all, "/rootfs", false).FD()
}

// execHere executes a command of the host in a directory.
func execHere(c *compiler, dir string, args []string) {
	terminal := c.Stdio[0] == nil
	if terminal {
		tty := c.b.Terminal(c.b.Open("/", unix.O_PATH).FD(), 0)
		c.b.Stdio(tty.FD(), tty.FD(), tty.FD())
	} else {
		c.pipes()
	}
	c.b.NewSession(terminal)
	c.b.Umask(0o022)
	c.b.Chdir(dir)
	c.b.Exec(args[:1], args, []string{defaultPath, "XDG_RUNTIME_DIR=/run"})
}
