package container

import (
	"path"
	"strings"

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
// it, and else while CAP_SYS_ADMIN is still there (seccomp(2)).
func (c *credentials) take(b *nsutil.Builder) {
	p := c.process
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
	if c.filter != nil && !p.NoNewPrivileges {
		b.Seccomp(c.filter.Program, c.filter.Flags)
	}
	b.LimitBounding(c.caps.Bounding, security.LastCap())
	b.KeepCaps()
	b.SetIDs(p.User.UID, p.User.GID, p.User.AdditionalGids)
	b.Chdir(p.Cwd)
	b.SetCaps(c.caps)
	if p.NoNewPrivileges {
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

// rlimits are the resources by name, getrlimit(2).
var rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_STACK": unix.RLIMIT_STACK,
}
