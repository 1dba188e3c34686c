package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tare/nsutil"
	"tare/spec"
)

// Layer is a container's writable layer on disk: DIR/{upper,work}. Removing DIR removes it.
type Layer struct {
	Dir string
	// UserNS is the pod's user namespace, or nil: lower layers are then shown to it by idmapped
	// mounts, and what is written belongs to its ids. Nothing is ever chowned.
	UserNS *os.File
	// UID and GID own the root of the file system, as host ids.
	UID, GID uint32
	// Label is the SELinux context of all files, or empty: each has its own.
	Label string
}

func (l Layer) upper() string { return filepath.Join(l.Dir, "upper") }
func (l Layer) work() string  { return filepath.Join(l.Dir, "work") }

// Make creates the layer's directories. Idempotent.
func (l Layer) Make() error {
	for _, d := range []string{l.upper(), l.work()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make writable layer: %w", err)
		}
		if err := os.Chown(d, int(l.UID), int(l.GID)); err != nil {
			return fmt.Errorf("make writable layer: %w", err)
		}
	}
	return nil
}

// Remove deletes the layer.
func (l Layer) Remove() error {
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("remove writable layer: %w", err)
	}
	return nil
}

// Mount assembles the root file system as a detached overlay of the image's layers, top first,
// under the writable one. It is in nobody's mount table until a program attaches it. The caller
// closes it.
//
// A container's layer is gone with it after a crash of the machine, so it would not need syncing
// (Documentation/filesystems/overlayfs.rst, "Volatile mount"), but a volatile upper directory cannot
// be mounted a second time, and start-up recovery mounts again.
func (l Layer) Mount(lowers []string) (*os.File, error) {
	root, err := overlay(lowers, l.UserNS, func(fs *nsutil.FSContext) error {
		return errors.Join(fs.SetString("upperdir", l.upper()), fs.SetString("workdir", l.work()), setLabel(fs, l.Label))
	})
	if err != nil {
		return nil, fmt.Errorf("assemble root file system: %w", err)
	}
	return root, nil
}

// setLabel gives all files of a file system one SELinux context, mount(8), "context".
func setLabel(fs *nsutil.FSContext, label string) error {
	if label == "" {
		return nil
	}
	return fs.SetString(contextOption, label)
}

// overlay makes a detached overlay of layers, top first; more sets what it has besides.
func overlay(lowers []string, userns *os.File, more func(*nsutil.FSContext) error) (root *os.File, err error) {
	fs, err := nsutil.FSOpen("overlay")
	if err != nil {
		return nil, err
	}
	defer fs.Close()
	// Closing a detached mount unmounts it: it has to live until the overlay has its own copy.
	layers := make([]lower, len(lowers))
	defer func() {
		for _, l := range layers {
			err = errors.Join(err, l.Close())
		}
		if err != nil && root != nil {
			root.Close()
		}
	}()
	for i, dir := range lowers {
		if layers[i], err = addLower(fs, dir, userns); err != nil {
			return nil, err
		}
	}
	if err := more(fs); err != nil {
		return nil, err
	}
	if err := fs.SetString("source", "overlay"); err != nil {
		return nil, err
	}
	return fs.Mount(0)
}

// lower is an idmapped lower layer on its way into an overlay.
type lower struct {
	mount    *os.File
	attached *nsutil.Attachment
}

// Close lets go of the layer; the overlay has its own copy.
func (l lower) Close() error {
	err := l.attached.Close()
	if l.mount != nil {
		l.mount.Close()
	}
	return err
}

// addLower adds one layer; for a user namespace as an idmapped mount, which the caller closes.
func addLower(fs *nsutil.FSContext, dir string, userns *os.File) (l lower, err error) {
	if userns == nil {
		return l, fs.SetString("lowerdir+", dir)
	}
	if l.mount, err = nsutil.CloneMount(dir, false); err != nil {
		return l, err
	}
	if err := nsutil.IDMapMount(l.mount, userns, false); err != nil {
		return l, err
	}
	l.attached, err = fs.AddLower(l.mount)
	return l, err
}

// RootOwner is the host id of a pod's root user and group.
func RootOwner(pod *spec.Pod) (uid, gid uint32) {
	if u := pod.Namespaces.User; u != nil {
		return u.UID.Host, u.GID.Host
	}
	return 0, 0
}
