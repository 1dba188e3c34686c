package cgroup

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// settings translates OCI resources into writes for this host's cgroup version. Pure. A pointer that
// is nil, and a zero where zero makes no limit, mean: as it is.
func (t *Tree) settings(r *specs.LinuxResources) ([]setting, error) {
	if r == nil {
		return nil, nil
	}
	translate := settingsV1
	if t.v2() {
		translate = settingsV2
	}
	settings, err := translate(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if err := checkPageSizes(r.HugepageLimits, hugepageSizes()); err != nil {
		return nil, err
	}
	kept := settings[:0]
	for _, s := range settings {
		if _, err := t.limiter(s); err == nil {
			kept = append(kept, s)
		} else if !s.optional {
			return nil, err
		}
	}
	return kept, nil
}

// plan translates what Create is asked for.
func (t *Tree) plan(r *specs.LinuxResources) (*plan, error) {
	settings, err := t.settings(r)
	if err != nil {
		return nil, err
	}
	var list []specs.LinuxDeviceCgroup
	if r != nil {
		list = r.Devices
	}
	if len(list) == 0 {
		list = DefaultDevices()
	}
	devices, err := parseDevices(list)
	if err != nil {
		return nil, fmt.Errorf("device rules: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return &plan{settings: settings, devices: devices}, nil
}

// Set changes limits of a container's group and leaves what r does not mention alone, the device rules
// too: they are Create's. On failure every value is put back. A limit the container is beyond already
// is ErrFailedPrecondition on v1, and on v2 if r.Memory.CheckBeforeUpdate asks for it; else the
// kernel reclaims, and kills if that is not enough.
func (g *Group) Set(r *specs.LinuxResources) error {
	_, err := g.Change(r)
	return err
}

// Change is Set that returns what puts the values back which were in force before.
func (g *Group) Change(r *specs.LinuxResources) (undo func() error, err error) {
	old, err := g.set(r)
	if err != nil {
		return nil, fmt.Errorf("set limits of cgroup %s: %w", g.path, err)
	}
	return func() error { return g.write(old) }, nil
}

// Check tells whether this host could set such limits, as far as that can be told without a cgroup.
func (t *Tree) Check(r *specs.LinuxResources) error {
	_, err := t.settings(r)
	return err
}

// set applies r and returns the settings that it replaced.
func (g *Group) set(r *specs.LinuxResources) (old []setting, err error) {
	r, err = g.complete(r)
	if err != nil {
		return nil, err
	}
	settings, err := g.tree.settings(r)
	if err != nil {
		return nil, err
	}
	if err := g.checkUsage(r); err != nil {
		return nil, err
	}
	if old, err = g.current(settings); err != nil {
		return nil, err
	}
	if err := g.write(settings); err != nil {
		return nil, errors.Join(err, g.write(old))
	}
	return old, nil
}

// complete fills in what v2 wants in one file with what was asked for: a period without a quota would
// lift the quota (cpu.max, Documentation/admin-guide/cgroup-v2.rst).
func (g *Group) complete(r *specs.LinuxResources) (*specs.LinuxResources, error) {
	if r == nil || r.CPU == nil || r.CPU.Period == nil || *r.CPU.Period == 0 || r.CPU.Quota != nil || !g.tree.v2() {
		return r, nil
	}
	h := g.tree.of("cpu")
	if h == nil {
		return r, nil
	}
	content, err := h.read(g.dir, "cpu.max")
	if err != nil {
		return nil, notFound(err)
	}
	var quota string
	if _, err := fmt.Sscan(content, &quota); err != nil {
		return nil, fmt.Errorf("parse cpu.max %q: %w", content, err)
	}
	us, err := strconv.ParseInt(quota, 10, 64)
	if err != nil { // "max"
		us = -1
	}
	cpu, all := *r.CPU, *r
	cpu.Quota, all.CPU = &us, &cpu
	return &all, nil
}

// checkUsage refuses a memory limit below the present use, if asked to, on v2: v1's kernel does it
// by itself.
func (g *Group) checkUsage(r *specs.LinuxResources) error {
	if !g.tree.v2() || r == nil || r.Memory == nil || r.Memory.CheckBeforeUpdate == nil || !*r.Memory.CheckBeforeUpdate {
		return nil
	}
	limit := value(r.Memory.Limit)
	content, err := g.tree.of("memory").read(g.dir, "memory.current")
	if err != nil {
		return notFound(err)
	}
	usage, err := strconv.ParseInt(content, 10, 64)
	if err == nil && limit > 0 && usage >= limit {
		err = fmt.Errorf("memory limit %d is not above the %d bytes in use: %w", limit, usage, errdefs.ErrFailedPrecondition)
	}
	return err
}

// value is *p, or zero.
func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
