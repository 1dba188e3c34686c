package nsutil

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// SetIDs takes the user, groups and group of the process. The group comes first, while there is
// still the right to change it (setresuid(2), setgroups(2)).
func (b *Builder) SetIDs(uid, gid uint32, groups []uint32) {
	arr := b.reserve(4*len(groups)+4, 4)
	for i, g := range groups {
		b.putU32(arr+uint32(4*i), g)
	}
	b.add("setgroups", fmt.Sprint(groups), unix.SYS_SETGROUPS, Imm(uint64(len(groups))), blobArg(arr))
	b.SetIDsOnly(uid, gid)
}

// SetIDsOnly takes user and group and leaves the supplementary groups.
func (b *Builder) SetIDsOnly(uid, gid uint32) {
	u, g := Imm(uint64(uid)), Imm(uint64(gid))
	b.add("setresgid", fmt.Sprint(gid), unix.SYS_SETRESGID, g, g, g)
	b.add("setresuid", fmt.Sprint(uid), unix.SYS_SETRESUID, u, u, u)
}

// Caps are capability sets as bit masks, capabilities(7).
type Caps struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}

// LimitBounding drops from the bounding set what is not in keep. Before SetIDs: dropping needs
// CAP_SETPCAP.
func (b *Builder) LimitBounding(keep, last uint64) {
	for c := uint64(0); c <= last; c++ {
		if keep&(1<<c) == 0 {
			b.add("prctl", fmt.Sprintf("PR_CAPBSET_DROP %d", c), unix.SYS_PRCTL, Imm(unix.PR_CAPBSET_DROP), Imm(c))
		}
	}
}

// KeepCaps lets the permitted set survive the change to a user other than root
// (PR_SET_KEEPCAPS(2const)), until SetCaps.
func (b *Builder) KeepCaps() {
	b.add("prctl", "PR_SET_KEEPCAPS 1", unix.SYS_PRCTL, Imm(unix.PR_SET_KEEPCAPS), Imm(1))
}

// SetCaps takes the capability sets, capset(2), and raises the ambient ones.
func (b *Builder) SetCaps(c Caps) {
	hdr := b.reserve(8, 8)
	b.putU32(hdr, unix.LINUX_CAPABILITY_VERSION_3)
	data := b.reserve(24, 8)
	for i, v := range []uint64{c.Effective, c.Permitted, c.Inheritable} {
		b.putU32(data+uint32(4*i), uint32(v))
		b.putU32(data+uint32(12+4*i), uint32(v>>32))
	}
	b.add("capset", fmt.Sprintf("eff %#x perm %#x inh %#x", c.Effective, c.Permitted, c.Inheritable), unix.SYS_CAPSET, blobArg(hdr), blobArg(data))
	for bit := uint64(0); bit < 64; bit++ {
		if c.Ambient&(1<<bit) != 0 {
			b.add("prctl", fmt.Sprintf("PR_CAP_AMBIENT_RAISE %d", bit), unix.SYS_PRCTL, Imm(unix.PR_CAP_AMBIENT), Imm(unix.PR_CAP_AMBIENT_RAISE), Imm(bit))
		}
	}
}

// NoNewPrivs makes execve grant nothing (PR_SET_NO_NEW_PRIVS(2const)).
func (b *Builder) NoNewPrivs() {
	b.add("prctl", "PR_SET_NO_NEW_PRIVS 1", unix.SYS_PRCTL, Imm(unix.PR_SET_NO_NEW_PRIVS), Imm(1))
}

// Seccomp installs a filter: filter is an array of struct sock_filter, seccomp(2). It needs
// no_new_privs or CAP_SYS_ADMIN, so it comes first where the former is not asked for.
func (b *Builder) Seccomp(filter []byte, flags uint64) {
	const insn = 8
	code := b.bytes(filter)
	prog := b.reserve(16, 8)
	binary.NativeEndian.PutUint16(b.p.blob[prog:], uint16(len(filter)/insn))
	b.reloc(prog+8, argBlob, code)
	b.add("seccomp", fmt.Sprintf("SET_MODE_FILTER %d instructions", len(filter)/insn), unix.SYS_SECCOMP, Imm(unix.SECCOMP_SET_MODE_FILTER), Imm(flags), blobArg(prog))
}

// OpLimit is the name of the operation that sets a resource limit.
const OpLimit = "prlimit64"

// Rlimit sets one resource limit of the process, setrlimit(2). What the keeper's own
// privileges do not allow (EPERM, without CAP_SYS_RESOURCE) is an error.
func (b *Builder) Rlimit(resource int, name string, cur, max uint64) {
	lim := b.reserve(16, 8)
	b.putU64(lim, cur)
	b.putU64(lim+8, max)
	b.add(OpLimit, fmt.Sprintf("%s %d/%d", name, cur, max), unix.SYS_PRLIMIT64, Imm(0), Imm(uint64(resource)), blobArg(lim), Imm(0))
}

// Stdio makes files the process's descriptors 0, 1 and 2.
func (b *Builder) Stdio(in, out, err FD) {
	for i, f := range []FD{in, out, err} {
		b.add("dup3", fmt.Sprintf("%s -> %d", f.label, i), unix.SYS_DUP3, f.arg, Imm(uint64(i)), Imm(0))
	}
}

// NewSession makes the process a session leader, setsid(2), and, if tty is set, descriptor 0 its
// controlling terminal, ioctl_tty(2).
func (b *Builder) NewSession(tty bool) {
	b.add("setsid", "", unix.SYS_SETSID)
	if tty {
		b.add("ioctl", "TIOCSCTTY", unix.SYS_IOCTL, Imm(0), Imm(unix.TIOCSCTTY), Imm(0))
	}
}

// SessionKeyring joins a new anonymous session keyring, keyctl(2), so that keys of the host or of
// other containers are out of reach. A kernel without keyrings has none to hide; a full quota
// (EDQUOT) must not keep a container from starting.
func (b *Builder) SessionKeyring() {
	b.add("keyctl", "JOIN_SESSION_KEYRING", unix.SYS_KEYCTL, Imm(unix.KEYCTL_JOIN_SESSION_KEYRING), Imm(0)).orGoOn(unix.ENOSYS, unix.EDQUOT)
}

// Dumpable gives the process's files in /proc back to its user (PR_SET_DUMPABLE(2const)), which a
// launch takes from it.
func (b *Builder) Dumpable() {
	b.add("prctl", "PR_SET_DUMPABLE 1", unix.SYS_PRCTL, Imm(unix.PR_SET_DUMPABLE), Imm(1))
}

// Umask sets the file mode creation mask, umask(2).
func (b *Builder) Umask(mask uint32) {
	b.add("umask", fmt.Sprintf("%#o", mask), unix.SYS_UMASK, Imm(uint64(mask)))
}

// Chdir changes into a directory that the host vouches for.
func (b *Builder) Chdir(dir string) {
	b.add("chdir", dir, unix.SYS_CHDIR, b.str(dir))
}

// ChdirInside changes into a directory of the container, with the rights the program has at that point: as the
// user who will work there. Whoever made the directory, or exchanged it since, leads nowhere by a magic link of
// /proc, as to a descriptor or another process's root (CVE-2024-21626).
func (b *Builder) ChdirInside(dir string) {
	s := b.slot(dir)
	how := b.openHow(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, unix.RESOLVE_NO_MAGICLINKS)
	b.add("chdir", dir, unix.SYS_OPENAT2, CWD.arg, b.str(dir), blobArg(how), Imm(unix.SizeofOpenHow)).into(s)
	b.add("chdir", dir, unix.SYS_FCHDIR, s.arg())
}

// Exec ends the program: every descriptor above 2 is closed, then execve(2) of the first
// candidate that exists. Candidates are what a search in PATH gives, or one path.
func (b *Builder) Exec(candidates, argv, env []string) {
	b.CloseAbove2()
	args, envs := blobArg(b.pointers(argv)), blobArg(b.pointers(env))
	for i, c := range candidates {
		detail := c
		if i == len(candidates)-1 {
			detail = strings.Join(argv[:1], "")
			if len(candidates) == 1 {
				detail = c
			}
		}
		op := b.add("execve", detail, unix.SYS_EXECVE, b.str(c), args, envs)
		if i < len(candidates)-1 {
			op.orGoOn(syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES)
		}
	}
}

// CloseAbove2 closes everything but stdio and the status channel, whoever opened it; no file or slot can be used
// afterwards. That execve would close it is too late: a path that a container has made, of the command or
// its interpreter, is resolved before that, and may go by /proc/self/fd (CVE-2024-21626).
func (b *Builder) CloseAbove2() {
	if b.closed {
		return
	}
	b.closed = true
	closeRange := func(detail string, from, to Arg) {
		b.add("close_range", detail, unix.SYS_CLOSE_RANGE, from, to, Imm(0)).orGoOn(unix.EINVAL) // nothing in between
	}
	closeRange("3- below status", Imm(3), Arg{argBeside, ^uint64(0)})
	closeRange("above status", Arg{argBeside, 1}, Imm(uint64(^uint32(0))))
}

// Terminal makes a pseudo-terminal in the devpts mounted at /dev/pts under root, gives its master
// side back to the launcher, and returns the other side, owned by uid. The slave is opened through the
// master (TIOCGPTPEER, ioctl_tty(2)), by no path that somebody could have changed. A file system of somebody's at /dev/pts may answer
// that with the number of any descriptor there is: only a terminal is taken.
func (b *Builder) Terminal(root FD, uid uint32) Slot {
	master, slave := b.slot("ptmx"), b.slot("tty")
	how := b.openHow(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0, inRoot|unix.RESOLVE_NO_SYMLINKS)
	b.add("openat2", "/dev/pts/ptmx", unix.SYS_OPENAT2, root.arg, b.str("/dev/pts/ptmx"), blobArg(how), Imm(unix.SizeofOpenHow)).into(master)
	unlock := b.reserve(4, 4)
	b.add("ioctl", "ptmx TIOCSPTLCK", unix.SYS_IOCTL, master.arg(), Imm(unix.TIOCSPTLCK), blobArg(unlock))
	b.add("ioctl", "ptmx TIOCGPTPEER", unix.SYS_IOCTL, master.arg(), Imm(unix.TIOCGPTPEER), Imm(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).into(slave)
	b.add("ioctl", "tty TCGETS", unix.SYS_IOCTL, slave.arg(), Imm(unix.TCGETS), blobArg(b.reserve(termiosSize, 8)))
	b.add("fchown", fmt.Sprintf("tty %d", uid), unix.SYS_FCHOWN, slave.arg(), Imm(uint64(uid)), Imm(^uint64(0)))
	b.Give("console", master)
	return slave
}

// termiosSize is more than struct termios of the kernel takes.
const termiosSize = 64
