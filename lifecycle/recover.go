package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// Recover brings records, keeper and kernel together after a start of the daemon: every pod and
// container on record is adopted or brought to its end, and what no record names is removed. One
// that cannot be, is logged and tried again at the next start; the others come first.
func (r *Runtime) Recover(ctx context.Context, broken []store.Broken) error {
	listing, err := r.Keeper.List(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	processes := map[spec.ContainerID]keeper.Process{}
	for _, p := range listing.Processes {
		processes[spec.ContainerID(p.Key)] = p
	}
	if err := r.recoverInits(ctx, listing); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, b := range broken {
		r.Log.Warn("record cannot be read, removing what it stood for", slog.String("pod", string(b.ID)), slog.Any("err", b.Err))
		r.report(b.ID, r.dismantle(ctx, b.ID))
	}
	for _, p := range r.Store.Pods() {
		r.report(p.ID, r.recoverPod(ctx, p, processes))
	}
	r.report("", r.sweep(ctx, listing))
	return nil
}

func (r *Runtime) report(id spec.PodID, err error) {
	if err != nil {
		r.Log.Error("recover", slog.String("pod", string(id)), slog.Any("err", err))
	}
}

// recoverPod does with each state what its comment in package store says.
func (r *Runtime) recoverPod(ctx context.Context, p *store.Pod, held map[spec.ContainerID]keeper.Process) error {
	defer r.locks.lock(p.ID)()
	var errs []error
	for _, c := range p.Containers {
		errs = append(errs, r.recoverContainer(ctx, c, held[c.ID]))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	switch p.State {
	case store.PodCreating, store.PodRemoving:
		return r.dismantle(ctx, p.ID)
	case store.PodNotReady:
		return r.stopPod(ctx, p.ID)
	}
	plan := sandbox.New(p.ID, &p.Spec, r.layout)
	sb, err := plan.Adopt(ctx, r.Keeper)
	if err != nil {
		r.Log.Warn("sandbox is lost", slog.String("pod", string(p.ID)), slog.Any("err", err))
		return r.stopPod(ctx, p.ID)
	}
	r.keepSandbox(sb)
	return nil
}

func (r *Runtime) recoverContainer(ctx context.Context, c *store.Container, held keeper.Process) error {
	if _, err := r.holdImages(ctx, c); err != nil {
		r.Log.Warn("layers of a container's image are lost", slog.String("container", string(c.ID)), slog.Any("err", err))
	}
	live := newProcess(c.ID)
	r.keepProcess(live)
	switch c.State {
	case store.ContainerExited:
		close(live.started)
		close(live.exited)
		return all(
			func() error { return r.removeCgroup(ctx, c) },
			func() error { return r.leaveCustody(ctx, c) },
		)
	case store.ContainerStarting, store.ContainerRunning:
		defer close(live.started)
		return r.recoverProcess(ctx, c, live, held)
	case store.ContainerRemoving:
		return r.finishRemoval(ctx, c)
	}
	return nil
}

// recoverProcess finds a started container's process with the keeper, or its exit there, or
// records that both are lost.
func (r *Runtime) recoverProcess(ctx context.Context, c *store.Container, live *process, held keeper.Process) error {
	var err error
	if live.group, err = r.loadCgroup(c); err != nil {
		return err
	}
	if held.State != keeper.Running {
		end := keeper.Exit{Key: string(c.ID), Time: time.Now()}
		if held.State == keeper.Exited {
			end = held.Exit
		}
		live.once.Do(func() { err = r.recordExit(ctx, live, end) })
		return err
	}
	if live.output, err = r.Keeper.Fetch(ctx, string(c.ID)); err != nil {
		return err
	}
	live.pidfd, live.output.PidFD = live.output.PidFD, nil
	if err := r.recoverStdin(ctx, c, live); err != nil {
		return err
	}
	if c.State == store.ContainerRunning {
		return nil
	}
	_, err = r.Store.Update(c.Pod, changeContainer(c.ID, func(c *store.Container) (err error) {
		c.Pid, c.StartedAt, c.Namespaces = held.Pid, time.Now(), namespacesOf(held.Pid)
		c.State, err = c.State.Next(store.ContainerStarted)
		return err
	}))
	return err
}

func (r *Runtime) fetchPidFD(ctx context.Context, key string) (*os.File, error) {
	held, err := r.Keeper.Fetch(ctx, key)
	if err != nil {
		return nil, err
	}
	pidfd := held.PidFD
	held.PidFD = nil
	held.Close()
	return pidfd, nil
}

// endStray kills a process that no record names; Exited forgets it.
func (r *Runtime) endStray(ctx context.Context, p keeper.Process) error {
	if p.State != keeper.Running {
		return r.Keeper.Forget(ctx, p.Key)
	}
	pidfd, err := r.fetchPidFD(ctx, p.Key)
	if err != nil {
		return err
	}
	defer pidfd.Close()
	return nsutil.PidfdSignal(pidfd, unix.SIGKILL)
}

func (r *Runtime) finishRemoval(ctx context.Context, c *store.Container) error {
	if err := r.removeContainer(ctx, c); err != nil {
		return err
	}
	_, err := r.Store.Update(c.Pod, func(p *store.Pod) error {
		delete(p.Containers, c.ID)
		return nil
	})
	return err
}

// sweep removes what no record names: processes and descriptors in custody, directories,
// attachments to the network.
func (r *Runtime) sweep(ctx context.Context, held keeper.Listing) error {
	pods, containers := map[string]bool{}, map[string]bool{}
	var live []spec.PodID
	for _, p := range r.Store.Pods() {
		pods[string(p.ID)] = true
		live = append(live, p.ID)
		for id := range p.Containers {
			containers[string(id)] = true
		}
	}
	return errors.Join(
		r.sweepCustody(ctx, held, pods, containers),
		sweepDir(r.layout.Dir, pods, func(name string) error {
			id := spec.PodID(name)
			return errors.Join(sandbox.Release(ctx, id, r.layout, r.Keeper), sandbox.Remove(id, r.layout))
		}),
		sweepDir(r.containers, containers, func(name string) error {
			return os.RemoveAll(filepath.Join(r.containers, name))
		}),
		r.Network.GC(ctx, live),
	)
}

func (r *Runtime) sweepCustody(ctx context.Context, held keeper.Listing, pods, containers map[string]bool) error {
	var errs []error
	for _, p := range held.Processes {
		init, isInit := sandbox.InitOf(p.Key)
		if known := containers[p.Key] || isInit && pods[string(init)]; !known {
			errs = append(errs, r.endStray(ctx, p))
		}
	}
	for _, key := range held.Stored {
		if id, ok := sandbox.CustodyOf(key); ok && !pods[string(id)] {
			errs = append(errs, r.Keeper.Drop(ctx, key))
		}
		if id, ok := stdinOf(key); ok && !containers[id] {
			errs = append(errs, r.Keeper.Drop(ctx, key))
		}
	}
	return errors.Join(errs...)
}

// sweepDir calls remove for every entry that is not known.
func sweepDir(dir string, known map[string]bool, remove func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !known[e.Name()] {
			errs = append(errs, remove(e.Name()))
		}
	}
	return errors.Join(errs...)
}
