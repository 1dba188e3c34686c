package nsutil

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// null is a mount that is attached nowhere, with a null device of its own.
var null struct {
	mu    sync.Mutex
	mount *os.File // nil: not made yet
}

// OpenNull opens a null device for a process in a container, with O_RDONLY or O_RDWR. It is not the host's, whose mode and owner root
// there could change through it for everybody, and on a read-only mount, so that nobody can change its own.
// The caller closes the file.
func OpenNull(flags uint64) (*os.File, error) {
	null.mu.Lock()
	defer null.mu.Unlock()
	if null.mount == nil {
		m, err := nullMount()
		if err != nil {
			return nil, err
		}
		null.mount = m
	}
	return OpenInRoot(null.mount, os.DevNull, flags)
}

// nullMount has the device where it is looked for: its descriptors' links in /proc show that.
func nullMount() (_ *os.File, err error) {
	fs, err := FSOpen("tmpfs")
	if err != nil {
		return nil, err
	}
	defer fs.Close()
	m, err := fs.Mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if err := unix.Mkdirat(int(m.Fd()), "dev", 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdirat", Path: "dev", Err: err}
	}
	dev, err := OpenInRoot(m, "dev", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	if err := MakeNode(dev, "null", DeviceNode{Major: 1, Minor: 3, Mode: 0o666}); err != nil {
		return nil, err
	}
	return m, SetMountAttr(m, MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
}
