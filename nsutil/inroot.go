package nsutil

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens path as a process would that has root as its root directory: symbolic links
// and ".." never lead out, magic links are not followed (openat2(2) with RESOLVE_IN_ROOT). The
// caller closes the file. EAGAIN, which a rename racing with ".." gives, is tried again.
func OpenInRoot(root *os.File, path string, flags uint64) (*os.File, error) {
	for {
		fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: inRoot})
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		runtime.KeepAlive(root)
		if err != nil {
			return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
