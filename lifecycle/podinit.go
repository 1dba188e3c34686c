package lifecycle

import (
	"context"
	"errors"
	"os"

	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
)

// podInit returns the init of the pod's PID namespace, which the first container that shares it
// brings into being. The pod's lock is held.
func (l *launch) podInit(ctx context.Context) (*os.File, error) {
	if init := l.initOf(l.sb.ID); init != nil {
		ended, err := nsutil.PidfdEnded(init)
		if err != nil || !ended {
			return init, err
		}
		// Somebody killed it, and the kernel with it all that was in its namespace: the pod gets another.
		if err := errors.Join(l.endInit(l.sb.ID), l.Keeper.Forget(ctx, sandbox.InitKey(l.sb.ID))); err != nil {
			return nil, err
		}
	}
	init, err := l.sb.StartInit(ctx, l.Keeper, sandbox.Host{Mounts: l.bare, OOMScoreFloor: l.oomFloor})
	if err != nil {
		return nil, err
	}
	l.keepInit(l.sb.ID, init)
	return init, nil
}

// recoverInits finds the inits that run in the keeper's custody, and ends those it does not know of.
func (r *recovery) recoverInits(ctx context.Context) error {
	for _, p := range r.held.Processes {
		id, ok := sandbox.InitOf(p.Key)
		if !ok || p.State != keeper.Running {
			continue
		}
		pidfd, err := r.fetchPidFD(ctx, p.Key)
		if err != nil {
			return err
		}
		r.keepInit(id, pidfd)
	}
	return r.endLostInits()
}

func (r *recovery) endLostInits() error {
	lost := map[spec.PodID]bool{}
	for _, p := range r.Store.Pods() {
		if p.Spec.Namespaces.PID == spec.ModePod && r.initOf(p.ID) == nil {
			lost[p.ID] = true
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return sandbox.EndLostInits(lost)
}
