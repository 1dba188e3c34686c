package cri

import (
	"slices"
	"strings"
)

// cgroupParent checks the syntax of a parent cgroup, which is a path ("/kubepods/pod1") or a
// systemd slice ("kubepods-pod1.slice"). Which of them the driver takes is the driver's
// affair.
func cgroupParent(parent string, at field) (string, error) {
	if err := at.path(parent); err != nil {
		return "", err
	}
	parts := strings.Split(parent, "/")
	if slices.Contains(parts, "..") || slices.Contains(parts, ".") {
		return "", at.errorf("%q is not a clean path", parent)
	}
	if strings.ContainsAny(parent, "\n\r") {
		return "", at.errorf("%q has a line break", parent)
	}
	return parent, nil
}
