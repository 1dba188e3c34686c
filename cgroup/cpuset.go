package cgroup

import (
	"path"
	"strings"
)

// cpusetFiles are what a v1 cpuset needs before a task may enter it: both begin empty, and
// attaching to an empty set is ENOSPC (Documentation/admin-guide/cgroup-v1/cpusets.rst, cpuset(7)).
var cpusetFiles = []string{"cpuset.cpus", "cpuset.mems"}

// inheritCpuset copies the parent's CPUs and memory nodes into a new directory of v1's
// cpuset hierarchy. On v2 an empty set means the parent's (Documentation/admin-guide/cgroup-v2.rst).
func (h *hierarchy) inheritCpuset(dir string) error {
	if h.v2 || !h.has("cpuset") {
		return nil
	}
	for _, file := range cpusetFiles {
		value, err := h.cpuset(path.Dir(dir), file)
		if err != nil {
			return err
		}
		if err := h.write(dir, file, value); err != nil {
			return err
		}
	}
	return nil
}

// cpuset reads one file of a set. A set somebody left empty is first filled from above, as containers
// below it could not start otherwise.
func (h *hierarchy) cpuset(dir, file string) (string, error) {
	value, err := h.read(dir, file)
	if err != nil || strings.TrimSpace(value) != "" || dir == "." {
		return value, err
	}
	if value, err = h.cpuset(path.Dir(dir), file); err != nil {
		return "", err
	}
	return value, h.write(dir, file, value)
}
