package cgroup

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Everything this package does to a cgroup file goes through here: paths are relative to the
// hierarchy's root and never leave it. Plain descriptors instead of os.File spare the runtime
// poller's system calls, which would double the cost of a one-line write.

// open opens dir/file of the hierarchy. cgroup file systems hold no symbolic links, so
// RESOLVE_NO_SYMLINKS refuses nothing but a mount that is not one (openat2(2)).
func (h *hierarchy) open(dir, file string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	rel := path.Join(dir, file)
	for {
		fd, err := unix.Openat2(int(h.root.Fd()), rel, &how)
		if err == nil {
			return fd, nil
		}
		// EAGAIN: a rename raced with the lookup, openat2(2).
		if err != unix.EINTR && err != unix.EAGAIN {
			return -1, &os.PathError{Op: "open", Path: h.abs(rel), Err: err}
		}
	}
}

// abs is the host path of a path of the hierarchy.
func (h *hierarchy) abs(rel string) string { return path.Join(h.mount, rel) }

// write writes a value in one write(2): the kernel takes each write as one command.
func (h *hierarchy) write(dir, file, value string) error {
	fd, err := h.open(dir, file, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return h.writeTo(fd, path.Join(dir, file), value)
}

// writeTo writes a value into an open file; rel is for the error.
func (h *hierarchy) writeTo(fd int, rel, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "write", Path: h.abs(rel), Err: err}
		}
	}
}

// read returns a file's content without the final newline.
func (h *hierarchy) read(dir, file string) (string, error) {
	fd, err := h.open(dir, file, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	content := make([]byte, 0, 512)
	for {
		n, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", &os.PathError{Op: "read", Path: h.abs(path.Join(dir, file)), Err: err}
		case n == 0:
			return strings.TrimSuffix(string(content), "\n"), nil
		default:
			content = content[:len(content)+n]
		}
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
	}
}

// mkdir makes one directory.
func (h *hierarchy) mkdir(rel string) error {
	if err := unix.Mkdirat(int(h.root.Fd()), rel, 0o755); err != nil {
		return &os.PathError{Op: "mkdir", Path: h.abs(rel), Err: err}
	}
	return nil
}

// rmdir removes one directory; one that is not there is as good as removed.
func (h *hierarchy) rmdir(rel string) error {
	err := unix.Unlinkat(int(h.root.Fd()), rel, unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: h.abs(rel), Err: err}
	}
	return nil
}

// gone reports whether an error says that a cgroup does not exist: ENODEV is what its open files answer
// once it is removed.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }
