package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Group is one cgroup that exists: a container's.
type Group struct {
	tree *Tree
	path Path
	dir  string // relative to each hierarchy's root
}

// Path returns where the group is.
func (g *Group) Path() Path { return g.path }

// make makes the container's directories with the plan's limits in place.
func (g *Group) make(ctx context.Context, plan *plan) error {
	for _, h := range g.tree.hierarchies {
		err := g.makeDir(ctx, h)
		if errors.Is(err, unix.EEXIST) {
			err = g.replace(ctx, h, err)
		}
		if err != nil {
			return err
		}
		if err := h.inheritCpuset(g.dir); err != nil {
			return err
		}
		if err := h.enableControllers(g.dir); err != nil {
			return err
		}
	}
	if err := g.setDevices(plan.devices); err != nil {
		return err
	}
	return g.write(plan.settings)
}

// replace makes a directory anew that an earlier Create left in a hierarchy, so that no setting,
// device program or event count of it remains. exists is the error mkdir gave.
func (g *Group) replace(ctx context.Context, h *hierarchy, exists error) error {
	if err := g.removeFrom(ctx, h); err != nil {
		return fmt.Errorf("%w: %w", err, exists)
	}
	return g.makeDir(ctx, h)
}

// makeDir makes the directory in a hierarchy, and what is missing above it.
func (g *Group) makeDir(ctx context.Context, h *hierarchy) error {
	if g.tree.driver != DriverSystemd {
		return h.makeLeaf(g.dir)
	}
	err := h.mkdir(g.dir)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := g.tree.startUnit(ctx, path.Dir(g.dir)); err != nil {
		return err
	}
	return h.mkdir(g.dir)
}

// enableControllers sees to it that a directory of v2 has every controller we set limits with, by
// handing them down in each ancestor's cgroup.subtree_control. Only a parent that lacks one is written
// to: the usual case costs one read. A controller an ancestor refuses to hand down (EBUSY: it holds
// processes itself, "no internal process constraint") is missed only when a limit of it is asked for.
func (h *hierarchy) enableControllers(dir string) error {
	if !h.v2 || len(h.controllers) == 0 {
		return nil
	}
	have, err := h.read(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"} {
		if h.has(c) && !slices.Contains(strings.Fields(have), c) {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, ancestor := range ancestors(dir) {
		if h.write(ancestor, "cgroup.subtree_control", "+"+strings.Join(missing, " +")) == nil {
			continue
		}
		for _, c := range missing { // one refused refuses all: hand down those that can be
			_ = h.write(ancestor, "cgroup.subtree_control", "+"+c)
		}
	}
	return nil
}

// ancestors lists the directories a directory is in, from the root down.
func ancestors(dir string) []string {
	list := []string{"."}
	for i, r := range dir {
		if r == '/' {
			list = append(list, dir[:i])
		}
	}
	return list
}

// Join names what a forked child must enter one by one on v1: a "tasks" file in each hierarchy. The child, which must
// be single-threaded, moves itself by writing "0" into each (cgroups(7)). On v2 there are none: see Dir.
func (g *Group) Join() []string {
	if g.tree.v2() {
		return nil
	}
	files := make([]string, len(g.tree.hierarchies))
	for i, h := range g.tree.hierarchies {
		file := "tasks"
		if h.v2 { // hybrid under systemd
			file = "cgroup.procs"
		}
		files[i] = h.abs(path.Join(g.dir, file))
	}
	return files
}

// Dir opens the group's directory on v2 for CLONE_INTO_CGROUP (clone(2)); on v1 it returns nil:
// see Join. The caller closes it.
func (g *Group) Dir() (*os.File, error) {
	if !g.tree.v2() {
		return nil, nil
	}
	h := g.tree.killer()
	fd, err := h.open(g.dir, "", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", g.path, notFound(err))
	}
	return os.NewFile(uintptr(fd), h.abs(g.dir)), nil
}

// OOM returns how many processes of the container the kernel has killed for want of memory, be it the
// container's limit or the pod's. v2's memory.events counts those of nested cgroups too, which a
// container may make for itself; v1's memory.oom_control has the count since Linux 4.13. Read it after
// the exit and before Remove.
func (g *Group) OOM() (uint64, error) {
	file := "memory.oom_control"
	if g.tree.v2() {
		file = "memory.events"
	}
	h := g.tree.of("memory")
	if h == nil {
		return 0, fmt.Errorf("read OOM kills of %s: no memory controller: %w", g.path, errdefs.ErrFailedPrecondition)
	}
	content, err := h.read(g.dir, file)
	if err != nil {
		return 0, fmt.Errorf("read OOM kills of %s: %w", g.path, notFound(err))
	}
	count, err := keyedCount(content, "oom_kill")
	if err != nil {
		return 0, fmt.Errorf("read OOM kills of %s: %s: %w", g.path, file, err)
	}
	return count, nil
}

// notFound gives a missing file the class of a missing cgroup.
func notFound(err error) error {
	if gone(err) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return err
}
