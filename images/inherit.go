package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A tar may hold tmp/file without an entry for tmp. Unpacked on its own, such a layer gets a tmp
// of mode 0755, which as the upper one would replace the 1777 of the layer below. These
// directories take over owner, mode, times and attributes of the nearest directory of that name
// beneath.

// tarDirs tells the directories that a tar describes from those it only uses. The zero value is
// ready.
type tarDirs struct {
	described map[string]bool
	used      map[string]bool
}

func (d *tarDirs) add(name string, isDir bool) {
	if d.used == nil {
		d.described, d.used = map[string]bool{}, map[string]bool{}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if isDir {
		d.described[name] = true
	}
	for dir := path.Dir(name); dir != "." && !d.used[dir]; dir = path.Dir(dir) {
		d.used[dir] = true
	}
}

// implied returns what is used and not described, parents before children.
func (d *tarDirs) implied() []string {
	var dirs []string
	for dir := range d.used {
		if !d.described[dir] {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// inherit gives the named directories of the layer dir what the layers below say about them.
func inherit(dir string, below, names []string) error {
	upper, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer upper.Close()
	lowers := make([]*os.Root, 0, len(below))
	for _, b := range below {
		lower, err := os.OpenRoot(b)
		if err != nil {
			return err
		}
		defer lower.Close()
		lowers = append(lowers, lower)
	}
	for _, name := range names {
		if err := inheritOne(upper, lowers, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func inheritOne(upper *os.Root, lowers []*os.Root, name string) error {
	to, err := upper.OpenFile(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ignoreAbsent(err) // removed again by the same tar
	}
	defer to.Close()
	for _, lower := range lowers {
		from, err := lower.OpenFile(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ignoreAbsent(err) // a file or whiteout there: nothing beneath shows through
		}
		defer from.Close()
		return copyDirAttributes(to, from)
	}
	return nil
}

// ignoreAbsent drops the errors which say that a path is not a directory.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) { // os.Root: a link of the image points out of the layer
		return nil
	}
	return err
}

func copyDirAttributes(to, from *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: from.Name(), Err: err}
	}
	fd := int(to.Fd())
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return &os.PathError{Op: "fchown", Path: to.Name(), Err: err}
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil { // after chown, which clears setgid
		return &os.PathError{Op: "fchmod", Path: to.Name(), Err: err}
	}
	if err := copyXattrs(fd, int(from.Fd())); err != nil {
		return &os.PathError{Op: "copy xattrs", Path: to.Name(), Err: err}
	}
	times := []unix.Timeval{unix.NsecToTimeval(st.Atim.Nano()), unix.NsecToTimeval(st.Mtim.Nano())}
	if err := unix.Futimes(fd, times); err != nil {
		return &os.PathError{Op: "futimes", Path: to.Name(), Err: err}
	}
	return nil
}

// copyXattrs copies extended attributes (ACLs are among them), but for overlayfs's own: opaque
// says something about one layer, not about the directory.
func copyXattrs(to, from int) error {
	n, err := unix.Flistxattr(from, nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(from, list); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		size, err := unix.Fgetxattr(from, name, nil)
		if err != nil {
			return err
		}
		value := make([]byte, size)
		if size, err = unix.Fgetxattr(from, name, value); err != nil {
			return err
		}
		if err := unix.Fsetxattr(to, name, value[:size], 0); err != nil {
			return err
		}
	}
	return nil
}
