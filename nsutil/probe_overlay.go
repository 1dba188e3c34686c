package nsutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ProbeOverlay tries to assemble a detached overlay below dir, the way a root file system is: lower
// layers one by one by fsconfig(2)'s "lowerdir+" (Linux 6.8, kernel commit 24e16e385f22 "ovl: add support
// for appending lowerdirs one by one"), upper and work directory. Not every file system can be
// an upper layer, another overlay for one: so dir has to be where the layers will be.
func ProbeOverlay(dir string) error {
	return withLayers(dir, func(fs *FSContext, lower string) (func() error, error) {
		return keepNothing, fs.SetString("lowerdir+", lower)
	})
}

// ProbeOverlayIDMapped tries the same with the lower layer shown through an idmapped mount: idmapped layers
// are Linux 5.19's, and whether the file system of dir can be idmapped is its own matter. Pods with a
// user namespace need it.
func ProbeOverlayIDMapped(dir string) error {
	userns, err := NewUserNS()
	if err != nil {
		return err
	}
	defer userns.Close()
	return withLayers(dir, func(fs *FSContext, lower string) (func() error, error) {
		m, err := CloneMount(lower, false)
		if err != nil {
			return keepNothing, err
		}
		if err := IDMapMount(m, userns, false); err != nil {
			return m.Close, err
		}
		attached, err := fs.AddLower(m)
		return func() error { return errors.Join(attached.Close(), m.Close()) }, err
	})
}

func keepNothing() error { return nil }

// withLayers makes directories for an overlay below dir, has addLower add the lower one, and
// mounts. Only then it lets go, by what addLower returns, of a mount that was added: the overlay refuses
// one that is gone.
func withLayers(dir string, addLower func(fs *FSContext, lower string) (letGo func() error, err error)) (err error) {
	base, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("probe overlay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	at := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return fmt.Errorf("probe overlay: %w", err)
		}
	}
	fs, err := FSOpen("overlay")
	if err != nil {
		return err
	}
	defer fs.Close()
	letGo, err := addLower(fs, at("lower"))
	defer func() { err = errors.Join(err, letGo()) }()
	if err != nil {
		return err
	}
	if err := errors.Join(fs.SetString("upperdir", at("upper")), fs.SetString("workdir", at("work"))); err != nil {
		return err
	}
	m, err := fs.Mount(0)
	if err != nil {
		return err
	}
	return m.Close()
}
