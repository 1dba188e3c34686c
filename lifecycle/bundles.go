package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"

	"tare/spec"
	"tare/store"
)

// bundles is the directory of what hooks find of their containers (runtime-spec bundle.md): one directory each, with
// nothing but the specification.
type bundles string

func (b bundles) make() error {
	if err := os.MkdirAll(string(b), 0o711); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	return nil
}

func (b bundles) dir(id spec.ContainerID) string { return filepath.Join(string(b), string(id)) }

// write writes a specification for the host's root and a group, who may not change it. Idempotent.
func (b bundles) write(id spec.ContainerID, group int, config []byte) error {
	dir := b.dir(id)
	file := filepath.Join(dir, "config.json")
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	if err := os.WriteFile(file, config, 0o440); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	for _, path := range []string{file, dir} {
		if err := os.Chown(path, 0, group); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	return nil
}

// remove removes what a container had, if it had hooks.
func (b bundles) remove(c *store.Container) error {
	if c.OCI == nil || c.OCI.Hooks == nil {
		return nil
	}
	return os.RemoveAll(b.dir(c.ID))
}
