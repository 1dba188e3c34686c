package container

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/security"
	"tare/security/seccomp"
)

// credentials are a process's user, capabilities and filter, ready to be taken.
type credentials struct {
	process *specs.Process
	caps    nsutil.Caps
	filter  *seccomp.Filter // nil: none
}

// take gives up privileges in the order in which each step still has the right to be made:
// label, bounding set, user, capabilities, no_new_privs. The filter goes last where no_new_privs allows
// it, and else while CAP_SYS_ADMIN is still there (seccomp(2)). Either way no more than capset(2), prctl(2) and execve(2) come after
// it: a profile need not allow what the command does not call.
func (c *credentials) take(b *nsutil.Builder) {
	c.prepare(b)
	c.become(b)
	c.confine(b)
}

// takeForking is take for a process that is to be born among others who may have the right to trace it: it does so as
// late as can be, as the user it will be, and with no capability but its own and those for the filter and SCHED_DEADLINE.
// session then makes it a session leader, which a new process is not.
func (c *credentials) takeForking(b *nsutil.Builder, session func()) {
	c.prepare(b)
	c.become(b)
	b.Fork()
	session()
	c.confine(b)
}

// prepare does what takes a right that is soon gone.
func (c *credentials) prepare(b *nsutil.Builder) {
	p := c.process
	b.CloseAbove2() // from here on paths are the container's
	if p.ApparmorProfile != "" {
		b.ExecLabel(nsutil.AppArmor, p.ApparmorProfile)
	}
	if p.SelinuxLabel != "" {
		b.ExecLabel(nsutil.SELinux, p.SelinuxLabel)
		b.KeyLabel(nsutil.SELinux, p.SelinuxLabel)
	}
	for _, l := range p.Rlimits {
		b.Rlimit(rlimits[l.Type], l.Type, l.Soft, l.Hard)
	}
	b.SessionKeyring()
	b.Umask(0o022)
}

// become takes the user, and keeps those capabilities that are its own or needed for what comes.
func (c *credentials) become(b *nsutil.Builder) {
	u := c.process.User
	b.LimitBounding(c.caps.Bounding, security.LastCap())
	b.KeepCaps()
	b.SetIDs(u.UID, u.GID, u.AdditionalGids)
	b.ChdirInside(c.process.Cwd)
	b.CloseAbove2() // that of the directory
	needed := c.caps.Permitted
	if c.filtersEarly() {
		needed |= 1 << unix.CAP_SYS_ADMIN
	}
	if c.deadline() {
		needed |= 1 << unix.CAP_SYS_NICE
	}
	b.SetCaps(nsutil.Caps{Effective: needed, Permitted: needed, Inheritable: c.caps.Inheritable})
}

// filtersEarly says whether the process will not have the right to its filter later.
func (c *credentials) filtersEarly() bool { return c.filter != nil && !c.process.NoNewPrivileges }

// confine takes the capabilities, and what cannot be undone.
func (c *credentials) confine(b *nsutil.Builder) {
	c.scheduleLate(b)
	if c.filtersEarly() {
		b.Seccomp(c.filter.Program, c.filter.Flags)
	}
	b.SetCaps(c.caps)
	if c.process.NoNewPrivileges {
		b.NoNewPrivs()
		if c.filter != nil {
			b.Seccomp(c.filter.Program, c.filter.Flags)
		}
	}
}

// execute ends the program.
func (c *credentials) execute(b *nsutil.Builder) {
	b.Exec(candidates(c.process.Args[0], c.process.Env), c.process.Args, c.process.Env)
}

// candidates are the paths a command may be found at: itself, if it has a slash, else one for
// each directory of PATH, execvp(3).
func candidates(command string, env []string) []string {
	if strings.Contains(command, "/") {
		return []string{command}
	}
	search := strings.TrimPrefix(defaultPath, "PATH=")
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	var out []string
	for dir := range strings.SplitSeq(search, ":") {
		out = append(out, path.Join("/", dir, command))
	}
	return out
}

// CheckProcess refuses a process that was changed into one that cannot be.
func CheckProcess(oci *specs.Spec) error {
	p := oci.Process
	if len(p.Args) == 0 {
		return fmt.Errorf("no command: %w", errdefs.ErrFailedPrecondition)
	}
	for i, arg := range p.Args {
		if strings.IndexByte(arg, 0) >= 0 {
			return fmt.Errorf("argument %d: %q has a NUL byte: %w", i, arg, errdefs.ErrFailedPrecondition)
		}
	}
	for _, l := range p.Rlimits {
		if _, ok := rlimits[l.Type]; !ok || l.Soft > l.Hard {
			return fmt.Errorf("rlimit %s, soft %d, hard %d: unknown, or above itself: %w", l.Type, l.Soft, l.Hard, errdefs.ErrFailedPrecondition)
		}
	}
	if adj := p.OOMScoreAdj; adj != nil && (*adj < -1000 || *adj > 1000) {
		return fmt.Errorf("oom_score_adj %d is not between -1000 and 1000: %w", *adj, errdefs.ErrFailedPrecondition)
	}
	if err := checkMemoryPolicy(oci.Linux.MemoryPolicy); err != nil {
		return err
	}
	return checkSchedule(oci)
}

// rlimits are the resources by name, getrlimit(2).
var rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK": unix.RLIMIT_STACK,
}
