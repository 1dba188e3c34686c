package stats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxNesting is how many directories below each other are measured: each costs an open file while it is
// walked. Whoever nests them deeper escapes being counted, but not a quota.
const maxNesting = 512

// walker adds up what a directory tree takes on disk.
type walker struct {
	bytes, inodes uint64
	linked        map[uint64]struct{} // inodes with several names, counted once
}

// diskUsage counts the bytes allocated for a directory tree and its inodes. It goes from descriptor to
// descriptor and follows no symbolic link: the tree belongs to a container. What vanishes meanwhile is passed over.
func diskUsage(ctx context.Context, dir string) (bytes, inodes uint64, err error) {
	w := &walker{linked: map[uint64]struct{}{}}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		if err == unix.ENOENT {
			return 0, 0, nil
		}
		return 0, 0, fmt.Errorf("measure writable layer: %w", &os.PathError{Op: "lstat", Path: dir, Err: err})
	}
	w.add(&st)
	if err := w.walk(ctx, unix.AT_FDCWD, dir, 0); err != nil {
		return 0, 0, fmt.Errorf("measure writable layer: %w", err)
	}
	return w.bytes, w.inodes, nil
}

func (w *walker) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, seen := w.linked[st.Ino]; seen {
			return
		}
		w.linked[st.Ino] = struct{}{}
	}
	w.bytes += uint64(st.Blocks) * 512 // of 512 bytes whatever the filesystem, stat(2)
	w.inodes++
}

func (w *walker) walk(ctx context.Context, parent int, name string, depth int) error {
	if depth == maxNesting {
		return nil
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Base(name), Err: err}
	}
	d := os.NewFile(uintptr(fd), filepath.Base(name))
	defer d.Close()
	const batch = 1024
	for {
		names, err := d.Readdirnames(batch)
		if len(names) == 0 || err != nil {
			return nil // the end, or removed meanwhile
		}
		for _, name := range names {
			if err := w.entry(ctx, fd, name, depth); err != nil {
				return err
			}
		}
	}
}

func (w *walker) entry(ctx context.Context, dir int, name string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil
	}
	w.add(&st)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.walk(ctx, dir, name, depth+1)
	}
	return nil
}
