package lifecycle

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"tare/cgroup"
	"tare/container"
	"tare/crash"
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
		defer r.locks.Lock(p.ID)()
		next, err := r.Store.Note(p.ID, changeContainer(id, func(c *store.Container) (err error) {
			c.State, err = c.State.Next(store.ContainerRemove)
			return err
		}))
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		crash.Point("container-remove.ordered")
		if err := r.removeContainer(ctx, next, next.Containers[id]); err != nil {
			return err
		}
		defer crash.Point("container-remove.record-deleted")
		_, err = r.Store.Note(p.ID, func(p *store.Pod) error {
			delete(p.Containers, id)
			return nil
		})
		return err
	})
}

// removeContainer removes everything a container may have but its record. All steps are
// idempotent.
func (r *Runtime) removeContainer(ctx context.Context, p *store.Pod, c *store.Container) error {
	live := r.processOf(c.ID)
	if live != nil {
		if err := live.kill(ctx); err != nil {
			return err
		}
		if err := live.wait(ctx, killTimeout); err != nil {
			return err
		}
	}
	crash.Point("container-remove.killed")
	err := all(
		func() error { return removeCgroup(ctx, r, p, c) },
		passed("container-remove.cgroup-removed"),
		func() error { return live.leaveCustody(ctx, r.Keeper, c) },
		passed("container-remove.custody-left"),
		func() error { r.dropProcess(c.ID); return nil },
		func() error { return r.bundles.remove(c) },
		func() error { return container.Layer{Dir: r.layers.dir(c.ID)}.Remove() },
		passed("container-remove.layer-removed"),
	)
	if err == nil {
		releaseImages(r.Images, c)
		told(r.Log, r.Plugins.RemoveContainer(ctx, p, c))
	}
	return err
}

// removeCgroup removes the container's cgroup with what may still be in it, and what an OCI runtime has of it.
func removeCgroup(ctx context.Context, r *Runtime, p *store.Pod, c *store.Container) error {
	if c.CgroupPath == "" {
		return nil
	}
	group, err := loadCgroup(r.Cgroups, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if group != nil {
		if err := group.Kill(ctx); err != nil {
			return err
		}
	}
	if d := drivenBy(r, p, c.ID); d != nil {
		err = errors.Join(d.Delete(ctx), r.Cgroups.RemoveOthers(cgroup.Path(c.CgroupPath)))
	}
	if group == nil {
		return err
	}
	return errors.Join(err, group.Remove(ctx))
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
