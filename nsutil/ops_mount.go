package nsutil

import (
	"golang.org/x/sys/unix"
)

// Option is one parameter of a file system, fsconfig(2); an empty value sets a flag.
type Option struct {
	Key   string
	Value string
	File  *FD // instead of a value
}

// Mount makes a detached mount of a file system inside the child, so that it belongs to the
// child's namespaces (proc to its PID namespace, sysfs to its network namespace, mqueue to its
// IPC namespace): fsopen, fsconfig, fsmount. attrs are MOUNT_ATTR_….
func (b *Builder) Mount(fstype string, attrs uint64, opts ...Option) Slot {
	fs := b.slot(fstype)
	b.add("fsopen", fstype, unix.SYS_FSOPEN, b.str(fstype), Imm(unix.FSOPEN_CLOEXEC)).into(fs)
	for _, o := range opts {
		if o.File != nil {
			b.add("fsconfig", fstype+" "+o.Key+"="+o.File.label, unix.SYS_FSCONFIG, fs.arg(), Imm(unix.FSCONFIG_SET_FD), b.str(o.Key), Imm(0), o.File.arg)
			continue
		}
		if o.Value == "" {
			b.add("fsconfig", fstype+" "+o.Key, unix.SYS_FSCONFIG, fs.arg(), Imm(unix.FSCONFIG_SET_FLAG), b.str(o.Key), Imm(0), Imm(0))
			continue
		}
		b.add("fsconfig", fstype+" "+o.Key+"="+o.Value, unix.SYS_FSCONFIG, fs.arg(), Imm(unix.FSCONFIG_SET_STRING), b.str(o.Key), b.str(o.Value), Imm(0))
	}
	b.add("fsconfig", fstype+" create", unix.SYS_FSCONFIG, fs.arg(), Imm(unix.FSCONFIG_CMD_CREATE), Imm(0), Imm(0), Imm(0))
	m := b.slot(fstype)
	b.add("fsmount", fstype+" "+flagNames(attrs, attrNames), unix.SYS_FSMOUNT, fs.arg(), Imm(unix.FSMOUNT_CLOEXEC), Imm(attrs)).into(m)
	return m
}

// Attach puts a detached mount onto a place. The place is a descriptor: what it names cannot be
// exchanged for something else meanwhile.
func (b *Builder) Attach(mount, place FD) {
	empty := b.str("")
	b.add("move_mount", mount.label+" on "+place.label, unix.SYS_MOVE_MOUNT, mount.arg, empty, place.arg, empty,
		Imm(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// AttachHere puts a detached mount onto the working directory. A directory of the host that was
// entered before the namespaces were, needs no path that their users may walk: the working
// directory moves along into a new mount namespace (copy_mnt_ns, fs/namespace.c).
func (b *Builder) AttachHere(mount FD) {
	b.add("move_mount", mount.label+" on .", unix.SYS_MOVE_MOUNT, mount.arg, b.str(""), CWD.arg, b.str(""),
		Imm(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// AttachAt is Attach onto what a directory of ours has under a name.
func (b *Builder) AttachAt(mount, dir FD, name string) {
	b.add("move_mount", mount.label+" on "+name, unix.SYS_MOVE_MOUNT, mount.arg, b.str(""), dir.arg, b.str(name), Imm(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// CloneHost makes a detached bind mount of a path that the host vouches for, open_tree(2).
func (b *Builder) CloneHost(path string) Slot {
	s := b.slot(path)
	b.add("open_tree", path, unix.SYS_OPEN_TREE, CWD.arg, b.str(path), Imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).into(s)
	return s
}

// CloneTree makes a detached bind mount of place, with all below it if recursive, open_tree(2).
func (b *Builder) CloneTree(place FD, recursive bool) Slot {
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	detail := place.label
	if recursive {
		flags |= unix.AT_RECURSIVE
		detail += " recursive"
	}
	s := b.slot(place.label)
	b.add("open_tree", detail, unix.SYS_OPEN_TREE, place.arg, b.str(""), Imm(flags)).into(s)
	return s
}

// MountAttr is what SetAttr changes, a part of struct mount_attr, mount_setattr(2).
type MountAttr struct {
	Set         uint64 // MOUNT_ATTR_…
	Clear       uint64
	Propagation uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED or 0
	Recursive   bool
}

// SetAttr changes a mount's attributes. Path is relative to fd; empty: fd's own mount.
func (b *Builder) SetAttr(fd FD, path string, a MountAttr) {
	attr := b.reserve(unix.MOUNT_ATTR_SIZE_VER0, 8)
	b.putU64(attr, a.Set)
	b.putU64(attr+8, a.Clear)
	b.putU64(attr+16, a.Propagation)
	flags := uint64(0)
	detail := fd.label + path + " " + flagNames(a.Set, attrNames) + flagNames(a.Propagation, propagationNames)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if a.Recursive {
		flags |= unix.AT_RECURSIVE
		detail += " recursive"
	}
	b.add("mount_setattr", detail, unix.SYS_MOUNT_SETATTR, fd.arg, b.str(path), Imm(flags), blobArg(attr), Imm(unix.MOUNT_ATTR_SIZE_VER0))
}

// EnterRoot makes the mount at fd the process's root and drops the former one: pivot_root(2)'s
// way without a directory for the old root. Afterwards the working directory is the new root.
func (b *Builder) EnterRoot(root FD) {
	b.add("fchdir", root.label, unix.SYS_FCHDIR, root.arg)
	b.add("pivot_root", ". .", unix.SYS_PIVOT_ROOT, b.str("."), b.str("."))
	b.add("umount2", ". MNT_DETACH", unix.SYS_UMOUNT2, b.str("."), Imm(unix.MNT_DETACH))
	b.add("chdir", "/", unix.SYS_CHDIR, b.str("/"))
}

// Mask hides a path: a directory under an empty read-only tmpfs, anything else under a null device, which null gives as a mount that is
// attached nowhere. A path that is not there needs no mask.
func (b *Builder) Mask(root FD, p string, null func() FD, options ...Option) {
	place := b.slot(p)
	open := b.here()
	b.openIn(root, p, unix.O_PATH|unix.O_DIRECTORY, place).orGoOn(unix.ENOENT, unix.ENOTDIR)
	empty := b.Mount("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, options...)
	covered := b.here()
	b.Attach(empty.FD(), place.FD())
	b.skipTo(open, false)
	reopen := b.here()
	b.openIn(root, p, unix.O_PATH, place).orGoOn(unix.ENOENT, unix.ENOTDIR)
	b.Attach(null(), place.FD())
	b.skipTo(reopen, false)
	b.skipTo(covered, true)
}

// Readonly makes what is at p, with all below it, read-only: by a bind of itself, since a mount's
// attributes can only be set on a mount. A path that is not there needs nothing.
func (b *Builder) Readonly(root FD, p string) {
	place := b.slot(p)
	open := b.here()
	b.openIn(root, p, unix.O_PATH, place).orGoOn(unix.ENOENT, unix.ENOTDIR)
	m := b.CloneTree(place.FD(), true)
	b.SetAttr(m.FD(), "", MountAttr{Set: unix.MOUNT_ATTR_RDONLY, Recursive: true})
	b.Attach(m.FD(), place.FD())
	b.skipTo(open, false)
}
