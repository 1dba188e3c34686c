package lifecycle

import (
	"context"

	"github.com/containerd/errdefs"

	"tare/crash"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// StopPod ends the pod's containers at once, takes the pod off the network and gives up its
// namespaces. It may be repeated; a pod that is not there is stopped.
func (r *Runtime) StopPod(ctx context.Context, id spec.PodID) error {
	return r.order(ctx, "stop pod "+string(id), func(ctx context.Context) error {
		defer r.locks.Lock(id)()
		return r.stopPod(ctx, id)
	})
}

// stopPod is StopPod with the pod's lock held.
func (r *Runtime) stopPod(ctx context.Context, id spec.PodID) error {
	p, err := r.Store.Pod(id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.killContainers(ctx, p); err != nil {
		return err
	}
	crash.Point("pod-down.containers-killed")
	if p.State == store.PodReady { // plugins may have something in its network namespace
		told(r.Log, r.Plugins.StopPod(ctx, p))
	}
	if err := r.release(ctx, id); err != nil {
		return err
	}
	crash.Point("pod-down.released")
	_, err = r.Store.Note(id, func(p *store.Pod) error {
		p.State, err = p.State.Next(store.PodStop)
		return err
	})
	crash.Point("pod-down.stored")
	return err
}

// release gives up what a pod holds of the kernel and the network. Every step is tried; all are
// idempotent.
func (r *Runtime) release(ctx context.Context, id spec.PodID) error {
	ctx, cancel := context.WithTimeout(ctx, networkDelTimeout)
	defer cancel()
	return all(
		func() error { return r.endInit(id) },
		passed("pod-down.init-ended"),
		func() error { return r.Cgroups.ReleasePod(ctx, id) },
		passed("pod-down.cgroup-released"),
		func() error { return r.Network.Del(ctx, id) },
		passed("pod-down.network-left"),
		func() error { return sandbox.Release(ctx, id, r.layout, r.Keeper) },
		passed("pod-down.sandbox-released"),
		func() error { r.dropSandbox(id); return nil },
	)
}
