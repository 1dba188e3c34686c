package lifecycle

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
)

// podInit returns the init of the pod's PID namespace, which the first container that shares it
// brings into being. The pod's lock is held.
func (r *Runtime) podInit(ctx context.Context, sb *sandbox.Sandbox) (*os.File, error) {
	r.mu.Lock()
	init := r.init[sb.ID]
	r.mu.Unlock()
	if init != nil {
		return init, nil
	}
	init, err := sb.StartInit(ctx, r.Keeper, sandbox.Host{Attach: r.attach, OOMScoreFloor: r.oomFloor})
	if err != nil {
		return nil, err
	}
	r.keepInit(sb.ID, init)
	return init, nil
}

func (r *Runtime) keepInit(id spec.PodID, pidfd *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init[id] = pidfd
}

// endInit ends the pod's init, if it has one, and with it whatever is left in the namespace.
// The keeper's entry goes when the exit is reported.
func (r *Runtime) endInit(id spec.PodID) error {
	r.mu.Lock()
	init := r.init[id]
	delete(r.init, id)
	r.mu.Unlock()
	if init == nil {
		return nil
	}
	defer init.Close()
	return nsutil.PidfdSignal(init, unix.SIGKILL)
}

// recoverInits finds the inits that run in the keeper's custody, and ends those it does not know of.
func (r *Runtime) recoverInits(ctx context.Context, held keeper.Listing) error {
	for _, p := range held.Processes {
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

func (r *Runtime) endLostInits() error {
	lost := map[spec.PodID]bool{}
	for _, p := range r.Store.Pods() {
		if p.Spec.Namespaces.PID == spec.ModePod && r.init[p.ID] == nil {
			lost[p.ID] = true
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return sandbox.EndLostInits(lost)
}
