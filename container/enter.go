package container

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
	"tare/security/seccomp"
)

// Entry is everything an exec's program is compiled from.
type Entry struct {
	OCI     *specs.Spec // of the container
	Sandbox *sandbox.Sandbox
	PidFD   *os.File // of the container's first process
	Cgroup  Cgroup
	Args    []string
	Stdio   [3]*os.File     // nil, all three: a terminal
	Seccomp *seccomp.Filter // nil: none
	// OOMScoreFloor is as in Start.
	OOMScoreFloor int
}

// joined are the namespaces an exec joins by the container's pidfd, all at once; the user
// namespace only where the pod has one: joining one's own is an error (setns(2)).
const joined = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWPID

// Enter makes the program that executes a command inside a running container, with the
// container's own credentials.
func Enter(e Entry) (*nsutil.Program, error) {
	process := *e.OCI.Process
	process.Args = e.Args
	process.Terminal = e.Stdio[0] == nil
	creds, err := newCredentials(&process, e.Seccomp)
	if err != nil {
		return nil, err
	}
	oci := *e.OCI
	oci.Process = &process
	c := &compiler{Start: Start{OCI: &oci, Sandbox: e.Sandbox, Cgroup: e.Cgroup, Stdio: e.Stdio, OOMScoreFloor: e.OOMScoreFloor}, b: nsutil.NewBuilder()}
	c.join()
	c.enter(e.PidFD)
	creds.takeForking(c.b, c.execStdio())
	creds.execute(c.b)
	return checked(c.b)
}

// enter joins all namespaces of a container's process. In the PID namespace, only children of this one appear: there, whoever
// has CAP_SYS_PTRACE in the user namespace of the runtime's program can look through it for what it has of the host: root
// directory, descriptors, memory (CVE-2016-9962), against which PR_SET_DUMPABLE does not help (ptrace_may_access,
// kernel/ptrace.c); and anybody can read the mount table and the network devices of the namespaces it is in (mounts_open_common,
// fs/proc_namespace.c; get_proc_task_net, fs/proc/proc_net.c).
func (c *compiler) enter(pidfd *os.File) {
	kinds := uint64(joined)
	if c.userNS() {
		kinds |= unix.CLONE_NEWUSER
	}
	if c.Sandbox.Namespaces[sandbox.Time] != nil {
		kinds |= unix.CLONE_NEWTIME
	}
	c.b.SetNS(c.b.File(pidfd, "container"), kinds)
	if c.userNS() {
		c.b.SetIDs(0, 0, nil)
	}
}

// execStdio is stdio for an exec: a terminal is taken from the container's devpts, but
// /dev/console stays what it was. It returns what makes the session.
func (c *compiler) execStdio() (session func()) {
	if !c.OCI.Process.Terminal {
		c.pipes()
		return func() { c.b.NewSession(false) }
	}
	c.root = c.b.Open("/", unix.O_PATH).FD()
	tty := c.b.Terminal(c.root, c.OCI.Process.User.UID)
	c.b.Stdio(tty.FD(), tty.FD(), tty.FD())
	return func() { c.b.NewSession(true) }
}
