package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// plan is what Create does to a new cgroup, as data.
type plan struct {
	settings []setting
	devices  deviceRules
}

// setting is one value for one file.
type setting struct {
	controller string
	file       string
	value      string

	// For files with a line per key, to put an old value back: the key, and what to write if it had
	// no line. Empty: the file holds one value.
	key, unset string

	field    string // of the request, where that is not the file's own name
	optional bool   // where the controller or the file is missing there is nothing to limit
}

func (s setting) String() string { return cmp.Or(s.field, s.file) + " = " + s.value }

// write applies settings in order. What the kernel refuses is tried once more after the others, since
// it checks values against each other: memory.memsw.limit_in_bytes may not be below memory.limit_in_bytes
// (Documentation/admin-guide/cgroup-v1/memory.rst), cpu.cfs_quota_us and cpu.cfs_period_us not
// exceed the parent's ratio (Documentation/scheduler/sched-bwc.rst), and which one has to go first depends on
// whether limits grow or shrink.
func (g *Group) write(settings []setting) error {
	var refused []setting
	for _, s := range settings {
		err := g.writeOne(s)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
			refused = append(refused, s)
		} else if err != nil {
			return err
		}
	}
	for _, s := range refused {
		if err := g.writeOne(s); err != nil {
			return err
		}
	}
	return nil
}

// writeOne applies one setting and gives the kernel's refusal its class.
func (g *Group) writeOne(s setting) error {
	h, err := g.tree.limiter(s)
	if err != nil {
		return err
	}
	for line := range strings.Lines(s.value) {
		if err := h.write(g.dir, s.file, line); err != nil {
			return g.explain(s, err)
		}
	}
	return nil
}

// limiter finds the hierarchy of a setting's controller and says so if there is none.
func (t *Tree) limiter(s setting) (*hierarchy, error) {
	h := t.of(s.controller)
	if h == nil {
		return nil, fmt.Errorf("set %s: this host has no %s cgroup controller: %w", s, s.controller, errdefs.ErrFailedPrecondition)
	}
	return h, nil
}

// explain tells a group that is gone from one that lacks the file.
func (g *Group) explain(s setting, err error) error {
	if gone(err) && !g.tree.has(g.dir) {
		return fmt.Errorf("set %s: %w: %w", s, err, errdefs.ErrNotFound)
	}
	return s.classify(err)
}

// classify says what the kernel's answer to a write means.
func (s setting) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT) && s.optional:
		return nil
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("the %s controller is not enabled here or has no such limit: %w: %w", s.controller, err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	case errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("in use beyond that: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("set %s: %w", s, err)
}

// current returns the settings that put back what the files of these hold now. A cpuset of v2 that is
// empty is the parent's, and cannot become empty again while a process is in it (validate_change in
// kernel/cgroup/cpuset.c): what goes back is what was in effect.
func (g *Group) current(settings []setting) ([]setting, error) {
	old := make([]setting, 0, len(settings))
	for _, s := range settings {
		h, err := g.tree.limiter(s)
		if err != nil {
			return nil, err
		}
		content, err := h.read(g.dir, s.file)
		if err == nil && content == "" && s.controller == "cpuset" {
			content, err = h.read(g.dir, s.file+".effective")
		}
		if err := g.explain(s, err); err != nil {
			return nil, err
		}
		if err == nil {
			old = append(old, s.from(content))
		}
	}
	return old, nil
}

// from returns the setting that puts a file's present content back.
func (s setting) from(content string) setting {
	if s.key == "" {
		s.value = content
		return s
	}
	s.value = s.unset
	for line := range strings.Lines(content) {
		if strings.HasPrefix(line, s.key+" ") {
			s.value = strings.TrimSpace(line)
		}
	}
	return s
}

// keyedCount reads "key number" lines.
func keyedCount(content, key string) (uint64, error) {
	for line := range strings.Lines(content) {
		if number, ok := strings.CutPrefix(line, key+" "); ok {
			return strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s line", key)
}
