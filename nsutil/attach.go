package nsutil

import (
	"errors"
	"os"
	"path/filepath"
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

// AttachForNow puts a detached mount onto a new directory of the host, in one that only root enters: it may hold setuid programs
// and devices. The caller closes the attachment, and the mount is out of sight again.
func AttachForNow(mount *os.File) (*Attachment, error) {
	private, err := os.MkdirTemp("", "tare-mount-") // mode 0700
	if err != nil {
		return nil, err
	}
	a := &Attachment{filepath.Join(private, "mount")}
	if err := os.Mkdir(a.Path, 0o700); err != nil {
		return nil, errors.Join(err, os.Remove(private))
	}
	if err := AttachMount(mount, a.Path); err != nil {
		return nil, errors.Join(err, a.remove())
	}
	return a, nil
}

// Close unmounts and removes the directories. Nil is an attachment of nothing.
func (a *Attachment) Close() error {
	if a == nil {
		return nil
	}
	if err := Unmount(a.Path); err != nil {
		return err
	}
	return a.remove()
}

func (a *Attachment) remove() error {
	return errors.Join(os.Remove(a.Path), os.Remove(filepath.Dir(a.Path)))
}
