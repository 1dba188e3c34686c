package cgroup

import (
	"fmt"
	"path"
	"strings"

	"tare/spec"

	"github.com/containerd/errdefs"
)

// Path says where a container's cgroup is, as the OCI spec's linux.cgroupsPath does: for the cgroupfs
// driver an absolute path below the cgroup mount, "/kubepods/pod1/0123…"; for systemd
// "slice:prefix:name", the scope prefix-name.scope in that slice.
type Path string

// scopePrefix tells our scopes from other runtimes' in systemd's lists.
const scopePrefix = "tare"

// Path returns the path of a container with the request's cgroup_parent, or below the tree's own root
// if the request names none. Errors are ErrInvalidArgument and name the field.
func (t *Tree) Path(parent string, id spec.ContainerID) (Path, error) {
	if err := checkName(string(id)); err != nil {
		return "", fmt.Errorf("container id %q: %w: %w", id, err, errdefs.ErrInvalidArgument)
	}
	if parent == "" {
		parent = t.root
	}
	if t.driver == DriverSystemd {
		slice, err := checkSlice(parent)
		if err != nil {
			return "", fmt.Errorf("cgroup_parent %q: %w: %w", parent, err, errdefs.ErrInvalidArgument)
		}
		return Path(slice + ":" + scopePrefix + ":" + string(id)), nil
	}
	clean, err := checkParent(parent)
	if err != nil {
		return "", fmt.Errorf("cgroup_parent %q: %w: %w", parent, err, errdefs.ErrInvalidArgument)
	}
	return Path(path.Join(clean, string(id))), nil
}

// dir turns a path into one relative to a hierarchy's root, checking it again: it may come from
// a record on disk.
func (t *Tree) dir(p Path) (string, error) {
	if slice, scope, ok := strings.Cut(string(p), ":"); ok && t.driver == DriverSystemd {
		prefix, name, ok := strings.Cut(scope, ":")
		slice, err := checkSlice(slice)
		if err == nil && ok && checkName(prefix+"-"+name) == nil {
			return expandSlice(slice) + "/" + prefix + "-" + name + ".scope", nil
		}
	} else if t.driver != DriverSystemd {
		if clean, err := checkParent(string(p)); err == nil && clean != "/" {
			return clean[1:], nil
		}
	}
	return "", fmt.Errorf("cgroup path %q is not one of the %s driver: %w", p, t.driver, errdefs.ErrInvalidArgument)
}

// checkParent takes a cgroupfs path and returns it without doubled or final slashes.
func checkParent(parent string) (string, error) {
	if strings.HasSuffix(parent, ".slice") || strings.Contains(parent, ".slice:") {
		return "", fmt.Errorf("is a systemd slice, but the cgroup driver is cgroupfs")
	}
	if !strings.HasPrefix(parent, "/") {
		return "", fmt.Errorf("is not an absolute path")
	}
	for name := range strings.SplitSeq(parent, "/") {
		if name == "" {
			continue
		}
		if err := checkName(name); err != nil {
			return "", err
		}
	}
	return path.Clean(parent), nil
}

// checkName refuses what cannot be the name of a cgroup directory: the kernel takes no newline
// (cgroup_mkdir in kernel/cgroup/cgroup.c), and its own files begin with "cgroup.".
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..":
		return fmt.Errorf("%q is no name for a directory", name)
	case len(name) > 255:
		return fmt.Errorf("name of %d bytes is too long", len(name))
	case strings.HasPrefix(name, "cgroup."):
		return fmt.Errorf("names beginning with \"cgroup.\" are the kernel's")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' }):
		return fmt.Errorf("%q holds a slash or a control character", name)
	}
	return nil
}
