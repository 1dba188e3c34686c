package cgroup

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// mark is the extended attribute on parents that were made for a container and go with the last one. It
// is kept by the kernel with the directory, so it outlives a daemon; cgroup file systems of either version
// take trusted.* attributes (xattr(7); systemd keeps trusted.delegate the same way).
const mark = "trusted.tare"

// makeLeaf makes a directory, and the parents that are missing. A parent may vanish between the
// two, when the last container in it is removed at this moment: hence more than one try.
func (h *hierarchy) makeLeaf(dir string) error {
	err := h.mkdir(dir)
	for range 16 {
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := h.makeParent(path.Dir(dir)); err != nil {
			return err
		}
		err = h.mkdir(dir)
	}
	return err
}

// makeParent makes a directory and the parents that are missing, and marks what it made.
func (h *hierarchy) makeParent(dir string) error {
	if dir == "." {
		return nil
	}
	err := h.makeLeaf(dir)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = h.mark(dir); err == nil {
		err = h.inheritCpuset(dir)
	}
	if gone(err) {
		return nil // vanished already: the caller tries again
	}
	return err
}

// mark says that the directory is ours to remove.
func (h *hierarchy) mark(dir string) error {
	fd, err := h.open(dir, "", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, mark, []byte("1"), 0)
}

// marked reports whether the directory is ours to remove.
func (h *hierarchy) marked(dir string) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(h.abs(dir), mark, value[:])
	return err == nil && n == 1
}

// pruneParents removes dir and its parents as far as they are marked and empty, up to but without
// keep or what holds keep. Failing to is no error: another container may just have moved in.
func (h *hierarchy) pruneParents(dir, keep string) {
	for dir != "." && dir != keep && !strings.HasPrefix(keep, dir+"/") && h.marked(dir) {
		if h.rmdir(dir) != nil {
			return
		}
		dir = path.Dir(dir)
	}
}
