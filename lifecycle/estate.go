package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// Estate is what a runtime holds of its running pods: duplicates of all that its keeper held. When
// the keeper was killed, the next runtime inherits it and gives it to another keeper.
type Estate struct {
	pods      map[spec.PodID]*sandbox.Sandbox
	inits     map[spec.PodID]*os.File
	processes map[spec.ContainerID]*process
}

// Estate takes the handles away from a runtime that is closed. Inherit or Close the estate.
func (t *tables) Estate() *Estate {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &Estate{t.pod, t.init, t.live}
	t.pod, t.init, t.live = nil, nil, nil
	return e
}

// Close lets go of the handles. Nil is an estate of nothing.
func (e *Estate) Close() {
	if e == nil {
		return
	}
	for _, sb := range e.pods {
		sb.Close()
	}
	for _, f := range e.inits {
		f.Close()
	}
	for _, p := range e.processes {
		p.close()
	}
}

// Inherit gives the keeper what an earlier one held, as far as it has not taken that over by itself; the estate stays the
// caller's. What cannot be given is logged: Recover, which comes next, finds it lost and brings it to its end.
func (r *Runtime) Inherit(ctx context.Context, e *Estate) {
	if e == nil {
		return
	}
	listing, err := r.Keeper.List(ctx)
	errs := []error{err}
	held := map[string]bool{}
	for _, p := range listing.Processes {
		held[p.Key] = true
	}
	for _, key := range listing.Stored {
		held[key] = true
	}
	for id, sb := range e.pods {
		if p, err := r.Store.Pod(id); err == nil && !held[sandbox.CustodyKey(id)] {
			plan := sandbox.New(id, &p.Spec, r.layout)
			errs = append(errs, plan.Entrust(ctx, sb, r.Keeper))
		}
	}
	for id, f := range e.inits {
		if held[sandbox.InitKey(id)] {
			continue
		}
		errs = append(errs, adopt(ctx, r.Keeper, sandbox.InitKey(id), keeper.Custody{PidFD: f}))
	}
	for id, p := range e.processes {
		if pod, c, err := r.Store.Container(id); err == nil && p.running() && !held[string(id)] {
			errs = append(errs, p.entrust(ctx, r.Keeper, pod, c))
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.Log.Error("inherit from the lost keeper", slog.Any("err", err))
	}
}

// entrust gives another keeper what is held of a container that runs.
func (p *process) entrust(ctx context.Context, k *keeper.Client, pod *store.Pod, c *store.Container) error {
	held := p.output
	held.PidFD = p.pidfd
	if c.LogPath != "" {
		log, err := openLog(pod, c)
		if err != nil {
			return err
		}
		defer log.Close()
		held.Log = log
	}
	if err := adopt(ctx, k, string(c.ID), held); err != nil {
		return err
	}
	return p.entrustStdin(ctx, k)
}

func adopt(ctx context.Context, k *keeper.Client, key string, held keeper.Custody) error {
	pid, err := nsutil.PidfdPid(held.PidFD)
	if errors.Is(err, unix.ESRCH) { // it has ended; the kernel tells how
		pid, err = 0, nil
	}
	if err != nil {
		return err
	}
	return k.Adopt(ctx, key, pid, held)
}
