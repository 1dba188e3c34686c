package cgroup

import (
	"fmt"
	"path"
	"strings"
)

// rootSlice is systemd's name for the root of the tree, systemd.special(7).
const rootSlice = "-.slice"

// unitNameChars are what systemd.unit(5) allows in a name, but for the dash, and the @ of templates, which
// slices cannot be.
const unitNameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\"

// checkSlice takes a slice as the kubelet writes it, "a-b.slice" or "/a.slice/a-b.slice", and
// returns the unit's name. systemd.slice(5): a name is dash-separated parts, each the slice it is in.
func checkSlice(parent string) (string, error) {
	if strings.Contains(parent, ":") {
		return "", fmt.Errorf("names a scope, not a slice")
	}
	name := path.Base(parent)
	stem, ok := strings.CutSuffix(name, ".slice")
	if !ok {
		return "", fmt.Errorf("is not a slice, but the cgroup driver is systemd")
	}
	if name == rootSlice {
		return name, nil
	}
	for part := range strings.SplitSeq(stem, "-") {
		if part == "" || len(name) > 255 || strings.Trim(part, unitNameChars) != "" {
			return "", fmt.Errorf("is no name for a slice")
		}
	}
	if strings.Contains(parent, "/") && strings.Trim(parent, "/") != expandSlice(name) {
		return "", fmt.Errorf("is not where systemd keeps slice %s", name)
	}
	return name, nil
}

// expandSlice returns the directory of a slice: "a-b.slice" is at "a.slice/a-b.slice".
func expandSlice(name string) string {
	if name == rootSlice {
		return "."
	}
	var dirs []string
	stem := strings.TrimSuffix(name, ".slice")
	for i, r := range stem + "-" {
		if r == '-' {
			dirs = append(dirs, stem[:i]+".slice")
		}
	}
	return path.Join(dirs...)
}
