package nsutil

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// AttachMount puts a detached mount onto a path of the host, move_mount(2). The descriptor goes on
// naming the mount, and closing it does not unmount any more: Unmount does.
func AttachMount(mount *os.File, path string) error {
	err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	runtime.KeepAlive(mount)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: path, Err: err}
	}
	return nil
}

// Attachment is a mount in sight for a moment: for what older kernels do with attached mounts only.
type Attachment struct {
	Path string
}

// AttachForNow puts a detached mount onto a new directory of the host. The caller closes the
// attachment, and the mount is out of sight again.
func AttachForNow(mount *os.File) (*Attachment, error) {
	dir, err := os.MkdirTemp("", "tare-mount-")
	if err != nil {
		return nil, err
	}
	if err := AttachMount(mount, dir); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &Attachment{dir}, nil
}

// Close unmounts and removes the directory. Nil is an attachment of nothing.
func (a *Attachment) Close() error {
	if a == nil {
		return nil
	}
	if err := Unmount(a.Path); err != nil {
		return err
	}
	return os.Remove(a.Path)
}
