package nsutil

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// openHow appends a struct open_how, openat2(2).
func (b *Builder) openHow(flags, mode, resolve uint64) uint32 {
	off := b.reserve(unix.SizeofOpenHow, 8)
	b.putU64(off, flags)
	b.putU64(off+8, mode)
	b.putU64(off+16, resolve)
	return off
}

// Open opens a path that the host vouches for (no container reaches it), openat(2).
func (b *Builder) Open(file string, flags uint64) Slot {
	s := b.slot(file)
	b.add("openat", file, unix.SYS_OPENAT, CWD.arg, b.str(file), Imm(flags|unix.O_CLOEXEC), Imm(0)).into(s)
	return s
}

// WriteFile opens a file the host vouches for and writes into it.
func (b *Builder) WriteFile(file, data string) {
	s := b.Open(file, unix.O_WRONLY)
	b.Write(s.FD(), data)
}

// OpJoinCgroup is the name of the operations that join a cgroup: ENOENT or ENODEV is that of a cgroup that is gone.
const OpJoinCgroup = "join cgroup"

// JoinCgroup writes the child, as "0", into a file of a cgroup v1, cgroups(7).
func (b *Builder) JoinCgroup(file string) {
	s := b.Open(file, unix.O_WRONLY)
	b.p.Ops[len(b.p.Ops)-1].Name = OpJoinCgroup
	b.add(OpJoinCgroup, file+" \"0\"", unix.SYS_WRITE, s.arg(), b.str("0"), Imm(1))
}

// OpSysctl is the name of the operations that set a kernel parameter: one fails if the kernel does not have that, or not with this value.
const OpSysctl = "set sysctl"

// Sysctl sets a kernel parameter of the namespaces that the child is in by then: file is below proc, the host's /proc.
func (b *Builder) Sysctl(proc FD, file, value string) {
	s := b.slot("/proc/" + file)
	open := b.openIn(proc, file, unix.O_WRONLY, s)
	open.Name, open.Detail = OpSysctl, s.label
	b.Write(s.FD(), value)
	b.p.Ops[len(b.p.Ops)-1].Name = OpSysctl
}

// Write writes data, which the kernel takes whole or not at all for the files this is used on
// (cgroup.procs, /proc/sys, attributes).
func (b *Builder) Write(fd FD, data string) {
	b.add("write", strings.TrimSpace(fd.label+" ")+" "+fmt.Sprintf("%q", data), unix.SYS_WRITE, fd.arg, b.str(data), Imm(uint64(len(data))))
}

// inRoot is how every path within a container is resolved: nothing leads out of the root, and
// no magic link of its /proc is followed, openat2(2).
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// OpenExact opens p under root without following any symbolic link: where the kernel's own file
// systems go, an image's link must not lead them elsewhere (CVE-2019-19921, CVE-2023-27561).
func (b *Builder) OpenExact(root FD, p string) Slot {
	s := b.slot(p)
	how := b.openHow(unix.O_PATH|unix.O_CLOEXEC, 0, inRoot|unix.RESOLVE_NO_SYMLINKS)
	b.add("openat2", p+" no symlinks", unix.SYS_OPENAT2, root.arg, b.str(p), blobArg(how), Imm(unix.SizeofOpenHow)).into(s)
	return s
}

func (b *Builder) openIn(root FD, p string, flags uint64, s Slot) *Op {
	how := b.openHow(flags|unix.O_CLOEXEC, 0, inRoot)
	return b.add("openat2", p, unix.SYS_OPENAT2, root.arg, b.str(p), blobArg(how), Imm(unix.SizeofOpenHow)).into(s)
}

// Place opens p under root as a mount point, and makes it and its missing parents first:
// directories with mode 0755, or an empty file at the end when file is set.
func (b *Builder) Place(root FD, p string, file bool) Slot {
	s := b.slot(p)
	first := b.here()
	b.openIn(root, p, unix.O_PATH, s).orGoOn(unix.ENOENT)
	parts := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	dir := root
	for i, part := range parts {
		sub := "/" + strings.Join(parts[:i+1], "/")
		if file && i == len(parts)-1 {
			b.add("mknodat", sub, unix.SYS_MKNODAT, dir.arg, b.str(part), Imm(unix.S_IFREG|0o644), Imm(0)).orGoOn(unix.EEXIST)
		} else {
			b.add("mkdirat", sub, unix.SYS_MKDIRAT, dir.arg, b.str(part), Imm(0o755)).orGoOn(unix.EEXIST)
		}
		next := s
		if i < len(parts)-1 {
			next = b.slot(sub)
		}
		b.openIn(root, sub, unix.O_PATH, next)
		dir = next.FD()
	}
	b.skipTo(first, true)
	return s
}

// Mkdir makes a directory directly below dir; one that is there already is fine.
func (b *Builder) Mkdir(dir FD, name string, mode uint32) {
	b.add("mkdirat", name, unix.SYS_MKDIRAT, dir.arg, b.str(name), Imm(uint64(mode))).orGoOn(unix.EEXIST)
}

// Symlink makes a symbolic link directly below dir.
func (b *Builder) Symlink(target string, dir FD, name string) {
	b.add("symlinkat", name+" -> "+target, unix.SYS_SYMLINKAT, b.str(target), dir.arg, b.str(name)).orGoOn(unix.EEXIST)
}

// Node makes a device node directly below dir, with its owner and mode from the first: what is there by its name a
// moment later, in a directory that others may write to, need not be it (chmod(2) would follow a link, also one to
// /proc/self/exe). Preconditions: the umask is 0, which mknodat(2) applies.
func (b *Builder) Node(dir FD, name string, d DeviceNode) {
	detail := fmt.Sprintf("%s %c %d:%d %#o", name, d.kindLetter(), d.Major, d.Minor, d.Mode)
	b.add("mknodat", detail, unix.SYS_MKNODAT, dir.arg, b.str(name), Imm(uint64(d.kind()|d.Mode)), Imm(unix.Mkdev(d.Major, d.Minor)))
	if d.UID != 0 || d.GID != 0 {
		b.add("fchownat", fmt.Sprintf("%s %d:%d", name, d.UID, d.GID), unix.SYS_FCHOWNAT, dir.arg, b.str(name), Imm(uint64(d.UID)), Imm(uint64(d.GID)), Imm(unix.AT_SYMLINK_NOFOLLOW))
	}
}

// MakeNode is Node in the calling process: a node directly below dir with exactly this owner and mode.
func MakeNode(dir *os.File, name string, d DeviceNode) error {
	defer runtime.KeepAlive(dir)
	fail := func(op string, err error) error { return &os.PathError{Op: op, Path: name, Err: err} }
	if err := unix.Mknodat(int(dir.Fd()), name, d.kind()|d.Mode, int(unix.Mkdev(d.Major, d.Minor))); err != nil {
		return fail("mknodat", err)
	}
	if err := unix.Fchownat(int(dir.Fd()), name, int(d.UID), int(d.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("fchownat", err)
	}
	if err := unix.Fchmodat(int(dir.Fd()), name, d.Mode, 0); err != nil {
		return fail("fchmodat", err)
	}
	return nil
}

// DeviceNode is a node to be made with mknod(2).
type DeviceNode struct {
	Kind         NodeKind
	Major, Minor uint32
	Mode         uint32 // permission bits
	UID, GID     uint32
}

// NodeKind is what a node is; the zero value is a character device.
type NodeKind uint32

// The kinds of nodes.
const (
	CharDevice  NodeKind = 0
	BlockDevice NodeKind = unix.S_IFBLK
	FIFO        NodeKind = unix.S_IFIFO
)

func (d DeviceNode) kind() uint32 {
	if d.Kind == CharDevice {
		return unix.S_IFCHR
	}
	return uint32(d.Kind)
}

func (d DeviceNode) kindLetter() byte {
	switch d.Kind {
	case BlockDevice:
		return 'b'
	case FIFO:
		return 'p'
	}
	return 'c'
}
