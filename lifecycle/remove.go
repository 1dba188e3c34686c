package lifecycle

import (
	"context"

	"github.com/containerd/errdefs"

	"tare/cgroup"
	"tare/container"
	"tare/spec"
	"tare/store"
)

// RemoveContainer ends the container, if it runs, and removes it with its writable layer. It may
// be repeated; a container that is not there is removed.
func (r *Runtime) RemoveContainer(ctx context.Context, id spec.ContainerID) error {
	p, _, err := r.Store.Container(id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.order(ctx, "remove container "+string(id), func(ctx context.Context) error {
		defer r.locks.lock(p.ID)()
		next, err := r.Store.Update(p.ID, changeContainer(id, func(c *store.Container) (err error) {
			c.State, err = c.State.Next(store.ContainerRemove)
			return err
		}))
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.removeContainer(ctx, next.Containers[id]); err != nil {
			return err
		}
		_, err = r.Store.Update(p.ID, func(p *store.Pod) error {
			delete(p.Containers, id)
			return nil
		})
		return err
	})
}

// removeContainer removes everything a container may have but its record. All steps are
// idempotent.
func (r *Runtime) removeContainer(ctx context.Context, c *store.Container) error {
	live := r.processOf(c.ID)
	if live != nil {
		if err := live.kill(ctx); err != nil {
			return err
		}
		if err := live.wait(ctx, killTimeout); err != nil {
			return err
		}
	}
	err := all(
		func() error { return removeCgroup(ctx, r.Cgroups, c) },
		func() error { return live.leaveCustody(ctx, r.Keeper, c) },
		func() error { r.dropProcess(c.ID); return nil },
		func() error { return container.Layer{Dir: r.layers.dir(c.ID)}.Remove() },
	)
	if err == nil {
		releaseImages(r.Images, c)
	}
	return err
}

// removeCgroup removes the container's cgroup with what may still be in it.
func removeCgroup(ctx context.Context, tree *cgroup.Tree, c *store.Container) error {
	if c.CgroupPath == "" {
		return nil
	}
	group, err := loadCgroup(tree, c)
	if err != nil || group == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := group.Kill(ctx); err != nil {
		return err
	}
	return group.Remove(ctx)
}

// changeContainer is a change of one container's record, ErrNotFound if it is gone.
func changeContainer(id spec.ContainerID, change func(c *store.Container) error) func(p *store.Pod) error {
	return func(p *store.Pod) error {
		c := p.Containers[id]
		if c == nil {
			return errdefs.ErrNotFound
		}
		return change(c)
	}
}
