package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	mount       string   // host path
	controllers []string // v1: from the mount options; v2: cgroup.controllers of its root
	v2          bool
	root        *os.File // O_PATH
}

// has reports whether the controller is one of this hierarchy's.
func (h *hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// openHierarchies opens those of the mounted hierarchies that containers join: all of v1's with a
// controller, or the one of v2; those that are systemd's book-keeping too where it runs.
func openHierarchies(mode Mode) ([]*hierarchy, error) {
	joined, err := openMounted(func(h *hierarchy) bool { return h.joined(mode) })
	if err == nil && len(joined) == 0 {
		err = fmt.Errorf("no cgroup hierarchy is mounted below %s", mountRoot)
	}
	return joined, err
}

// joined says whether containers are in the hierarchy.
func (h *hierarchy) joined(mode Mode) bool {
	bookkeeping := len(h.controllers) == 0 && mode != Unified
	return !bookkeeping || systemdBooted()
}

// openMounted opens those of the mounted hierarchies that are wanted.
func openMounted(wanted func(h *hierarchy) bool) ([]*hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("read cgroup mounts: %w", err)
	}
	found = slices.DeleteFunc(found, func(h *hierarchy) bool { return !wanted(h) })
	for i, h := range found {
		if err := h.openRoot(); err != nil {
			closeAll(found[:i])
			return nil, err
		}
	}
	return found, nil
}

// openRoot opens the mount and, on v2, learns its controllers.
func (h *hierarchy) openRoot() error {
	root, err := os.OpenFile(h.mount, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup hierarchy: %w", err)
	}
	h.root = root
	if !h.v2 {
		return nil
	}
	list, err := h.read(".", "cgroup.controllers")
	h.controllers = strings.Fields(list)
	return err
}

// closeAll closes the roots. Errors are nothing one could act on: an O_PATH fd holds no data.
func closeAll(hs []*hierarchy) {
	for _, h := range hs {
		h.root.Close()
	}
}

// parseMounts picks the cgroup file systems out of a mountinfo table (proc_pid_mountinfo(5)). Where one
// is mounted several times, the first mount below /sys/fs/cgroup counts.
func parseMounts(table io.Reader) ([]*hierarchy, error) {
	var found []*hierarchy
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		mount, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(fs) < 3 {
			continue
		}
		h := &hierarchy{mount: mount[4]}
		switch fs[0] {
		case "cgroup2":
			h.v2 = true
		case "cgroup":
			h.controllers = v1Controllers(fs[2])
		default:
			continue
		}
		below := h.mount == mountRoot || strings.HasPrefix(h.mount, mountRoot+"/")
		if below && !slices.ContainsFunc(found, h.same) {
			found = append(found, h)
		}
	}
	return found, lines.Err()
}

// same reports whether both are mounts of one hierarchy. Named v1 hierarchies look alike here,
// which is right: systemd's is the only one that matters and comes first.
func (h *hierarchy) same(o *hierarchy) bool {
	return h.v2 == o.v2 && slices.Equal(h.controllers, o.controllers)
}

// v1Controllers picks the controllers from a v1 super block's options, cgroups(7): what is not
// one of the flags every such mount may have.
func v1Controllers(options string) []string {
	var names []string
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case strings.Contains(option, "="): // name=, release_agent=
		case slices.Contains([]string{"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "none", "favordynmods"}, option):
		default:
			names = append(names, option)
		}
	}
	return names
}
