package cgroup

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Expect prepares for a runtime that is not this one to make a container's cgroup: it joins every hierarchy that is mounted
// (runc's libcontainer/cgroups/fs), also those that containers are not in here. There the cgroup is made with the
// parents that are missing, which so are known to be ours to remove, and which the end of another container does not remove meanwhile.
func (t *Tree) Expect(p Path) error {
	return t.others(p, (*hierarchy).makeParent)
}

// RemoveOthers removes what such a runtime made where containers are not here, and what Expect made.
func (t *Tree) RemoveOthers(p Path) error {
	return t.others(p, func(h *hierarchy, dir string) error {
		if err := h.rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		h.pruneParents(path.Dir(dir), "")
		return nil
	})
}

// others does something about a path in every hierarchy that containers are not in.
func (t *Tree) others(p Path, do func(h *hierarchy, dir string) error) error {
	if t.driver == DriverSystemd {
		return nil
	}
	others, err := openMounted(func(h *hierarchy) bool { return !h.joined(t.mode) })
	if err != nil {
		return err
	}
	defer closeAll(others)
	var errs []error
	for _, h := range others {
		if err := do(h, path.Clean(strings.TrimPrefix(string(p), "/"))); err != nil {
			errs = append(errs, fmt.Errorf("cgroup %s in %s: %w", p, h.mount, err))
		}
	}
	return errors.Join(errs...)
}
