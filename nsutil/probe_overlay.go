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
	return withLayers(dir, func(fs *FSContext, lower string) (*os.File, error) {
		return nil, fs.SetString("lowerdir+", lower)
	})
}

// ProbeOverlayIDMapped tries the same with the lower layer shown through an idmapped mount and handed
// over as a descriptor: idmapped layers are Linux 5.19's, whether the file system of dir can be idmapped is
// its own matter, and layers by descriptor are 6.13's (kernel commit "ovl: specify layers via file
// descriptors"). Pods with a user namespace need it.
func ProbeOverlayIDMapped(dir string) error {
	userns, err := NewUserNS()
	if err != nil {
		return err
	}
	defer userns.Close()
	return withLayers(dir, func(fs *FSContext, lower string) (*os.File, error) {
		m, err := CloneMount(lower, false)
		if err != nil {
			return nil, err
		}
		return m, errors.Join(IDMapMount(m, userns, false), fs.SetFile("lowerdir+", m))
	})
}

// withLayers makes directories for an overlay below dir, has addLower add the lower one, and
// mounts. A mount that addLower returns stays open until then: a detached one that is closed is
// gone, and the overlay refuses it.
func withLayers(dir string, addLower func(fs *FSContext, lower string) (*os.File, error)) (err error) {
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
	layer, err := addLower(fs, at("lower"))
	if layer != nil {
		defer layer.Close()
	}
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
