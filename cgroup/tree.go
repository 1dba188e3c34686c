package cgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Tree is this host's cgroup file systems under one driver. Made once by a main package.
type Tree struct {
	mode        Mode
	driver      Driver
	root        string // default parent
	hierarchies []*hierarchy
	programs    programs
	log         *slog.Logger
}

// Open opens the host's hierarchies. root is the parent of containers whose request names none:
// a path as cgroup_parent has it; empty means "/tare", or system.slice with the systemd driver. With
// cgroupfs it is made here, so that a node's first pod does not pay for it, and removed by Close.
//
// DriverAuto is what Detect finds; where that is systemd and it does not answer, cgroupfs, as long as the
// kubelet is told (RuntimeConfig does). DriverSystemd without systemd, or on cgroup v1, is an error.
func Open(ctx context.Context, driver Driver, root string, log *slog.Logger) (*Tree, error) {
	mode, auto, err := Detect()
	if err != nil {
		return nil, err
	}
	if driver, err = choose(ctx, driver, auto, log); err != nil {
		return nil, err
	}
	hs, err := openHierarchies(mode)
	if err != nil {
		return nil, err
	}
	t := &Tree{mode: mode, driver: driver, root: root, hierarchies: hs, log: log}
	if err := t.makeRoot(); err != nil {
		t.Close()
		return nil, fmt.Errorf("make default cgroup parent %q: %w", t.root, err)
	}
	return t, nil
}

// choose decides on the driver.
func choose(ctx context.Context, asked, suits Driver, log *slog.Logger) (Driver, error) {
	switch asked {
	case DriverCgroupfs:
		return asked, nil
	case DriverAuto:
		if suits == DriverCgroupfs {
			return suits, nil
		}
	case DriverSystemd:
	default:
		return "", fmt.Errorf("cgroup driver %q is neither cgroupfs nor systemd: %w", asked, errdefs.ErrInvalidArgument)
	}
	err := ProbeSystemd(ctx)
	switch {
	case err == nil:
		return DriverSystemd, nil
	case asked == DriverAuto:
		log.Warn("cgroup driver is cgroupfs, because systemd's cannot be used", "err", err)
		return DriverCgroupfs, nil
	}
	return "", fmt.Errorf("cgroup driver systemd: %w", err)
}

// makeRoot makes the default parent.
func (t *Tree) makeRoot() error {
	if t.driver == DriverSystemd {
		if t.root == "" {
			t.root = "system.slice"
		}
		if _, err := checkSlice(t.root); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		return nil
	}
	if t.root == "" {
		t.root = "/tare"
	}
	root, err := checkParent(t.root)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	t.root = root
	for _, h := range t.hierarchies {
		if err := h.makeParent(t.rootDir()); err != nil {
			return err
		}
	}
	return nil
}

// rootDir is the default parent relative to the hierarchies' roots, with cgroupfs.
func (t *Tree) rootDir() string { return path.Clean(strings.TrimPrefix(t.root, "/")) }

// Close removes the default parent if nothing lives in it any more and closes the hierarchies.
// Groups of the tree must not be used afterwards.
func (t *Tree) Close() error {
	if t.driver == DriverCgroupfs {
		for _, h := range t.hierarchies {
			h.pruneParents(t.rootDir(), "")
		}
	}
	t.programs.close()
	closeAll(t.hierarchies)
	return nil
}

// Mode tells how the host mounts cgroups.
func (t *Tree) Mode() Mode { return t.mode }

// Driver tells who makes directories: never DriverAuto.
func (t *Tree) Driver() Driver { return t.driver }

// Controllers lists the controllers this host has, sorted.
func (t *Tree) Controllers() []string {
	var names []string
	for _, h := range t.hierarchies {
		names = append(names, h.controllers...)
	}
	slices.Sort(names)
	return names
}

// v2 reports whether limits are set by v2's files.
func (t *Tree) v2() bool { return t.mode == Unified }

// of returns the hierarchy of a controller, or nil.
func (t *Tree) of(controller string) *hierarchy {
	for _, h := range t.hierarchies {
		if h.has(controller) {
			return h
		}
	}
	return nil
}

// killer returns the hierarchy by which a group's processes are listed and killed: v2, or
// v1's freezer.
func (t *Tree) killer() *hierarchy {
	if t.v2() {
		return t.hierarchies[0]
	}
	return t.of("freezer")
}

// Create makes the container's cgroup with its limits and device rules; an empty list of rules means
// DefaultDevices. A leftover of the same name without a process is replaced, so a repeated
// Create succeeds; one with processes is ErrFailedPrecondition. Nothing is left of a Create that failed.
func (t *Tree) Create(ctx context.Context, p Path, r *specs.LinuxResources) (*Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	if inUnit(dir) != (t.driver == DriverSystemd) {
		return nil, fmt.Errorf("create cgroup %s: the cgroup driver has become %s since the path was made: %w", p, t.driver, errdefs.ErrFailedPrecondition)
	}
	plan, err := t.plan(r)
	if err != nil {
		return nil, fmt.Errorf("create cgroup %s: %w", p, err)
	}
	g := &Group{tree: t, path: p, dir: dir}
	if err := g.make(ctx, plan); err != nil {
		// What is left standing holds processes: the reason of err, not of ours to end.
		undo := g.Remove(context.WithoutCancel(ctx))
		if undo != nil && !errors.Is(undo, errdefs.ErrFailedPrecondition) {
			err = errors.Join(err, undo)
		}
		return nil, fmt.Errorf("create cgroup %s: %w", p, err)
	}
	return g, nil
}

// Load returns the cgroup of a container made before this process started, or ErrNotFound. On v1 one
// hierarchy that has it is enough: who made or removed it may have been killed halfway.
func (t *Tree) Load(p Path) (*Group, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	if !t.has(dir) {
		return nil, fmt.Errorf("load cgroup %s: %w", p, errdefs.ErrNotFound)
	}
	return &Group{tree: t, path: p, dir: dir}, nil
}

// has reports whether a directory is there in any of the hierarchies.
func (t *Tree) has(dir string) bool {
	return slices.ContainsFunc(t.hierarchies, func(h *hierarchy) bool {
		var st unix.Stat_t
		return unix.Fstatat(int(h.root.Fd()), dir, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	})
}
