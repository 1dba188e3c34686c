package nsutil

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// FSOpen starts the configuration of a file system, fsopen(2). The caller closes the context.
func FSOpen(fstype string) (*FSContext, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "fsopen", Path: fstype, Err: err}
	}
	return &FSContext{f: os.NewFile(uintptr(fd), fstype), fstype: fstype}, nil
}

// FSContext is a file system under configuration, fsopen(2).
type FSContext struct {
	f      *os.File
	fstype string
}

// Close ends the configuration; a mount made from it stays.
func (c *FSContext) Close() error { return c.f.Close() }

// SetString sets a parameter, fsconfig(2).
func (c *FSContext) SetString(key, value string) error {
	err := unix.FsconfigSetString(int(c.f.Fd()), key, value)
	return c.wrap(key+"="+value, err)
}

// SetFile sets a parameter to an open file, such as a detached mount.
func (c *FSContext) SetFile(key string, f *os.File) error {
	err := unix.FsconfigSetFd(int(c.f.Fd()), key, int(f.Fd()))
	runtime.KeepAlive(f)
	return c.wrap(key, err)
}

// AddLower gives an overlay a detached mount for its next lower layer, which the caller closes when the
// overlay is mounted. Overlays take layers as descriptors since Linux 6.13 (kernel commit "ovl: specify layers
// via file descriptors"), and before that only by a path that is in sight: then there is an
// attachment to close, too.
func (c *FSContext) AddLower(m *os.File) (*Attachment, error) {
	err := c.SetFile("lowerdir+", m)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBADF) {
		return nil, err
	}
	attached, err := AttachForNow(m)
	if err != nil {
		return nil, err
	}
	return attached, c.SetString("lowerdir+", attached.Path)
}

// Mount creates the file system and a detached mount of it, with MOUNT_ATTR_… attributes. The
// caller closes the mount, which unmounts it unless it was attached somewhere.
func (c *FSContext) Mount(attrs int) (*os.File, error) {
	if err := unix.FsconfigCreate(int(c.f.Fd())); err != nil {
		return nil, c.wrap("create", err)
	}
	fd, err := unix.Fsmount(int(c.f.Fd()), unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, &os.PathError{Op: "fsmount", Path: c.fstype, Err: err}
	}
	return os.NewFile(uintptr(fd), c.fstype), nil
}

// wrap adds what the kernel has to say beyond errno: it queues messages on the context
// (fsopen(2), "Message retrieval").
func (c *FSContext) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	buf := make([]byte, 512)
	if n, rerr := unix.Read(int(c.f.Fd()), buf); rerr == nil && n > 2 {
		return fmt.Errorf("%w (%s)", &os.PathError{Op: "fsconfig", Path: c.fstype + " " + what, Err: err}, trimNewline(buf[2:n]))
	}
	return &os.PathError{Op: "fsconfig", Path: c.fstype + " " + what, Err: err}
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}

// CloneMount makes a detached bind mount of path, open_tree(2): with everything mounted below
// it, if recursive. A final symbolic link is followed. The caller closes it.
func CloneMount(path string, recursive bool) (*os.File, error) {
	return cloneMount(unix.AT_FDCWD, path, recursive, 0)
}

// CloneMountFD is CloneMount of what dir refers to.
func CloneMountFD(dir *os.File, recursive bool) (*os.File, error) {
	m, err := cloneMount(int(dir.Fd()), "", recursive, unix.AT_EMPTY_PATH)
	runtime.KeepAlive(dir)
	return m, err
}

func cloneMount(dirfd int, path string, recursive bool, flags uint) (*os.File, error) {
	flags |= unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(dirfd, path, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// SetMountAttr changes the attributes of a mount, mount_setattr(2). IDMap: see IDMapMount.
func SetMountAttr(mount *os.File, a MountAttr) error {
	return setMountAttr(mount, &unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear, Propagation: a.Propagation}, a.Recursive)
}

// IDMapMount makes a detached mount show its files' owners as mapped by a user namespace
// (mount_setattr(2), Linux 5.12; which file systems can, is the kernel's to say: EINVAL).
func IDMapMount(mount, userns *os.File, recursive bool) error {
	err := setMountAttr(mount, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}, recursive)
	runtime.KeepAlive(userns)
	return err
}

func setMountAttr(mount *os.File, attr *unix.MountAttr, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(int(mount.Fd()), "", flags, attr)
	runtime.KeepAlive(mount)
	if err != nil {
		return &os.PathError{Op: "mount_setattr", Path: mount.Name(), Err: err}
	}
	return nil
}

// Bind mounts source on target in the caller's mount namespace, mount(2). Both are paths that
// the host vouches for.
func Bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "bind", Path: target, Err: err}
	}
	return nil
}

// BindFile is Bind of what f refers to, such as a namespace.
func BindFile(f *os.File, target string) error {
	err := Bind(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), target)
	runtime.KeepAlive(f)
	return err
}

// Unmount detaches what is mounted on a path, lazily (umount2(2), MNT_DETACH); a path that is
// no mount point, or is not there, is fine.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return &os.PathError{Op: "umount", Path: target, Err: err}
	}
	return nil
}
