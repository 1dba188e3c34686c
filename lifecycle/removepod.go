package lifecycle

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"tare/crash"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// RemovePod stops the pod, if need be, and removes it with its containers and all they left. It
// may be repeated; a pod that is not there is removed.
func (r *Runtime) RemovePod(ctx context.Context, id spec.PodID) error {
	return r.order(ctx, "remove pod "+string(id), func(ctx context.Context) error {
		defer r.locks.Lock(id)()
		if err := r.stopPod(ctx, id); err != nil {
			return err
		}
		p, err := r.Store.Pod(id)
		if errdefs.IsNotFound(err) {
			return nil
		}
		_, err = r.Store.Note(id, func(p *store.Pod) (err error) {
			p.State, err = p.State.Next(store.PodRemove)
			return err
		})
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		crash.Point("pod-remove.ordered")
		if err := r.dismantle(ctx, id); err != nil {
			return err
		}
		told(r.Log, r.Plugins.RemovePod(ctx, p))
		return nil
	})
}

// dismantle removes everything a pod may have, made or half made, and last its record: as long as
// a step fails, the record says that there is something to remove.
func (r *Runtime) dismantle(ctx context.Context, id spec.PodID) error {
	p, err := r.Store.Pod(id)
	if err != nil {
		p = &store.Pod{ID: id} // a record that could not be read: what has the pod's name goes
	}
	var errs []error
	for _, c := range p.Containers {
		errs = append(errs, r.removeContainer(ctx, p, c))
		crash.Point("pod-remove.container-removed")
	}
	errs = append(errs, r.release(ctx, id), sandbox.Remove(id, r.layout))
	crash.Point("pod-remove.files-removed")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.selinux.Release(p.SELinux)
	defer crash.Point("pod-remove.record-deleted")
	if err := r.Store.Delete(id); err != nil {
		return err
	}
	if p.Driver != nil {
		r.drivers.drop(p.Driver.Root, r.Store.Pods())
	}
	return nil
}
