package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	"tare/container"
	"tare/crash"
	"tare/nri"
	"tare/spec"
	"tare/store"
)

// UpdateContainer changes limits of a container that was created or runs: all that r specifies, or nothing.
// What r leaves unspecified stays as it is. A memory limit below what is in use is ErrFailedPrecondition, as it
// would kill.
func (r *Runtime) UpdateContainer(ctx context.Context, id spec.ContainerID, res *spec.Resources) error {
	p, _, err := r.Store.Container(id)
	if err != nil {
		return err
	}
	// Calls that ask for the same share one execution, others take turns.
	key := fmt.Sprintf("update container %s to %+v", id, *res)
	return r.order(ctx, key, func(ctx context.Context) error {
		answer, err := r.changeLimits(ctx, p.ID, id, res)
		if err != nil {
			return err
		}
		return r.Plugins.Apply(ctx, answer, id)
	})
}

// changeLimits asks plugins about other limits, and makes those that they make of them.
func (r *Runtime) changeLimits(ctx context.Context, pod spec.PodID, id spec.ContainerID, asked *spec.Resources) (nri.Answer, error) {
	defer r.locks.Lock(pod)()
	p, c, err := r.Store.Container(id)
	if err != nil {
		return nri.Answer{}, err
	}
	wanted, answer, err := r.Plugins.Update(ctx, p, c, asked)
	if err != nil {
		return answer, err
	}
	if err := r.updateContainer(ctx, id, wanted); err != nil {
		return answer, err
	}
	if p, c, err := r.Store.Container(id); err == nil {
		told(r.Log, r.Plugins.Updated(ctx, p, c))
	}
	return answer, nil
}

func (r *Runtime) updateContainer(ctx context.Context, id spec.ContainerID, asked *spec.Resources) error {
	p, c, err := r.Store.Container(id)
	if err != nil {
		return err
	}
	change := *asked
	change.MemorySwap = followMemory(c.Spec.Resources, asked)
	next := merge(c.Spec.Resources, &change)
	restore, err := (&adjustment{r, c, next, &change}).apply(ctx)
	if err != nil {
		return err
	}
	crash.Point("update.in-force")
	defer crash.Point("update.stored")
	_, err = r.Store.Update(p.ID, changeContainer(id, func(c *store.Container) error {
		c.Spec.Resources, c.OCI = next, container.WithLimits(c.OCI, next)
		return nil
	}))
	if err != nil {
		return undo(ctx, err, func(context.Context) error { return restore() })
	}
	return nil
}

// adjustment is a change of a container's limits, and what they are to be then.
type adjustment struct {
	*Runtime
	ctr          *store.Container
	next, change *spec.Resources
}

// apply makes the change in force, and returns what takes it back. A container that has no
// cgroup yet gets it at its start; for now it is checked as far as can be.
func (a *adjustment) apply(ctx context.Context) (restore func() error, err error) {
	c := a.ctr
	switch c.State {
	case store.ContainerCreated:
		return func() error { return nil }, a.Cgroups.Check(container.Limits(a.next))
	case store.ContainerRunning:
	default:
		return nil, fmt.Errorf("container %s is %s, its limits cannot change: %w", c.ID.Short(), c.State, errdefs.ErrFailedPrecondition)
	}
	live := a.processOf(c.ID)
	if live == nil || live.group == nil {
		return nil, fmt.Errorf("container %s has no cgroup: %w", c.ID.Short(), errdefs.ErrFailedPrecondition)
	}
	limits := container.Limits(a.change)
	if limits.Memory != nil {
		check := true
		limits.Memory.CheckBeforeUpdate = &check
	}
	back, err := live.group.Change(limits)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("container %s has just ended: %w", c.ID.Short(), errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, err
	}
	if err := live.updateDriven(ctx, a.next); err != nil {
		return nil, errors.Join(err, back())
	}
	was, wanted := oomScore(c.Spec.Resources, a.oomFloor), oomScore(a.next, a.oomFloor)
	if err := changeOOMScore(live.group, was, wanted); err != nil {
		return nil, errors.Join(err, changeOOMScore(live.group, wanted, was), back())
	}
	return func() error { return errors.Join(changeOOMScore(live.group, wanted, was), back()) }, nil
}

// UpdatePod records what a pod as a whole may use; nil leaves what is on record.
func (r *Runtime) UpdatePod(ctx context.Context, id spec.PodID, overhead, resources *spec.Resources) error {
	key := fmt.Sprintf("update pod %s to %+v and %+v", id, overhead, resources)
	return r.order(ctx, key, func(ctx context.Context) error {
		defer r.locks.Lock(id)()
		p, err := r.Store.Pod(id)
		if err != nil {
			return err
		}
		if err := r.Plugins.UpdatePod(ctx, p, overhead, resources); err != nil {
			return err
		}
		p, err = r.Store.Update(id, func(p *store.Pod) error {
			if overhead != nil {
				p.Spec.Overhead = overhead
			}
			if resources != nil {
				p.Spec.Resources = resources
			}
			return nil
		})
		if err == nil {
			told(r.Log, r.Plugins.UpdatedPod(ctx, p))
		}
		return err
	})
}

// followMemory is the limit of memory and swap together that goes with a change of the memory limit which does
// not name it: the swap beyond memory stays what it was, as it does by itself on cgroup v2.
func followMemory(old, asked *spec.Resources) int64 {
	switch {
	case asked.MemorySwap != 0 || asked.Memory == 0 || old == nil || old.MemorySwap <= 0:
		return asked.MemorySwap
	case asked.Memory == -1:
		return -1
	}
	return asked.Memory + old.MemorySwap - old.Memory
}

// merge returns the limits in force once change is made.
func merge(old, change *spec.Resources) *spec.Resources {
	if old == nil {
		old = &spec.Resources{}
	}
	out := *old
	for to, n := range map[*int64]int64{
		&out.CPUPeriod: change.CPUPeriod, &out.CPUQuota: change.CPUQuota, &out.CPUShares: change.CPUShares,
		&out.Memory: change.Memory, &out.MemorySwap: change.MemorySwap, &out.OOMScoreAdj: change.OOMScoreAdj,
		&out.MemoryReservation: change.MemoryReservation, &out.Pids: change.Pids,
	} {
		if n != 0 {
			*to = n
		}
	}
	for to, list := range map[*string]string{&out.CpusetCpus: change.CpusetCpus, &out.CpusetMems: change.CpusetMems} {
		if list != "" {
			*to = list
		}
	}
	if len(change.Unified) > 0 {
		out.Unified = maps.Clone(old.Unified)
		if out.Unified == nil {
			out.Unified = map[string]string{}
		}
		maps.Copy(out.Unified, change.Unified)
	}
	out.Hugepages = mergeHugepages(old.Hugepages, change.Hugepages)
	return &out
}

func mergeHugepages(old, change []spec.Hugepage) []spec.Hugepage {
	out := slices.Clone(old)
	for _, h := range change {
		i := slices.IndexFunc(out, func(o spec.Hugepage) bool { return o.PageSize == h.PageSize })
		if i < 0 {
			out = append(out, h)
		} else {
			out[i] = h
		}
	}
	return out
}
