package nsutil

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenNamespace opens a namespace by a path that the host vouches for; kind is its CLONE_NEW… flag, ioctl_nsfs(2). The caller closes it.
func OpenNamespace(path string, kind uint64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO has no writer maybe
	if err != nil {
		return nil, err
	}
	if is, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || uint64(is) != kind {
		f.Close()
		return nil, fmt.Errorf("%s is no namespace of this kind", path)
	}
	return f, nil
}
