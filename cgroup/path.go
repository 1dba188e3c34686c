package cgroup

import (
	"fmt"
	"path"
	"strings"

	"tare/spec"

	"github.com/containerd/errdefs"
)

// Path says where a container's cgroup is: an absolute path below the cgroup mount. With the
// cgroupfs driver "/kubepods/pod1/0123…"; with systemd the pod's unit is between,
// "/kubepods.slice/kubepods-pod1.slice/tare-4567….service/0123…".
type Path string

// Path returns the path of a pod's container with the request's cgroup_parent, or below the tree's own root
// if the request names none. Errors are ErrInvalidArgument and name the field.
func (t *Tree) Path(parent string, pod spec.PodID, id spec.ContainerID) (Path, error) {
	for name, id := range map[string]string{"pod": string(pod), "container": string(id)} {
		if err := checkName(id); err != nil {
			return "", fmt.Errorf("%s id %q: %w: %w", name, id, err, errdefs.ErrInvalidArgument)
		}
	}
	if parent == "" {
		parent = t.root
	}
	dir, err := t.parentDir(parent)
	if err != nil {
		return "", fmt.Errorf("cgroup_parent %q: %w: %w", parent, err, errdefs.ErrInvalidArgument)
	}
	if t.driver == DriverSystemd {
		dir = path.Join(dir, podUnit(pod))
	}
	return Path(path.Join("/", dir, string(id))), nil
}

// parentDir turns a parent as a request names it into a path relative to a hierarchy's root.
func (t *Tree) parentDir(parent string) (string, error) {
	if t.driver == DriverSystemd {
		slice, err := checkSlice(parent)
		return expandSlice(slice), err
	}
	clean, err := checkParent(parent)
	return path.Join(".", clean), err
}

// dir turns a path into one relative to a hierarchy's root, checking it again: it may come from
// a record on disk. Whose driver's it is makes no difference but to Create.
func (p Path) dir() (string, error) {
	clean, err := checkPath(string(p))
	if err == nil && clean == "/" {
		err = fmt.Errorf("is the root")
	}
	if err != nil {
		return "", fmt.Errorf("cgroup path %q: %w: %w", p, err, errdefs.ErrInvalidArgument)
	}
	return clean[1:], nil
}

// checkParent takes a parent as the cgroupfs driver has it.
func checkParent(parent string) (string, error) {
	if strings.HasSuffix(parent, ".slice") || strings.Contains(parent, ".slice:") {
		return "", fmt.Errorf("is a systemd slice, but the cgroup driver is cgroupfs")
	}
	return checkPath(parent)
}

// checkPath takes an absolute path and returns it without doubled or final slashes.
func checkPath(parent string) (string, error) {
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
