package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
	rec := recovery{r, listing, map[spec.ContainerID]keeper.Process{}}
	for _, p := range listing.Processes {
		rec.processes[spec.ContainerID(p.Key)] = p
	}
	return rec.run(ctx, broken)
}

// recovery is a runtime that has just started, with what its keeper held then.
type recovery struct {
	*Runtime
	held      keeper.Listing
	processes map[spec.ContainerID]keeper.Process
}

func (r *recovery) run(ctx context.Context, broken []store.Broken) error {
	if err := r.recoverInits(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, b := range broken {
		r.Log.Warn("record cannot be read, removing what it stood for", slog.String("pod", string(b.ID)), slog.Any("err", b.Err))
		r.report(b.ID, r.dismantle(ctx, b.ID))
	}
	for _, p := range r.Store.Pods() {
		r.report(p.ID, r.selinux.Keep(p.SELinux))
		r.report(p.ID, r.recoverPod(ctx, p))
	}
	r.report("", r.sweep(ctx))
	r.spares.Fill(ctx)
	return nil
}

func (r *recovery) report(id spec.PodID, err error) {
	if err != nil {
		r.Log.Error("recover", slog.String("pod", string(id)), slog.Any("err", err))
	}
}

// recoverPod does with each state what its comment in package store says.
func (r *recovery) recoverPod(ctx context.Context, p *store.Pod) error {
	defer r.locks.lock(p.ID)()
	var errs []error
	for _, c := range p.Containers {
		errs = append(errs, r.recoverContainer(ctx, c))
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

func (r *recovery) recoverContainer(ctx context.Context, c *store.Container) error {
	if _, err := holdImages(ctx, r.Images, c); err != nil {
		r.Log.Warn("layers of a container's image are lost", slog.String("container", string(c.ID)), slog.Any("err", err))
	}
	live := newProcess(c.ID)
	r.keepProcess(live)
	switch c.State {
	case store.ContainerExited:
		close(live.started)
		close(live.exited)
		return all(
			func() error { return removeCgroup(ctx, r.Cgroups, c) },
			func() error { return live.leaveCustody(ctx, r.Keeper, c) },
		)
	case store.ContainerStarting, store.ContainerRunning:
		defer close(live.started)
		return r.recoverProcess(ctx, c, live)
	case store.ContainerRemoving:
		return r.finishRemoval(ctx, c)
	}
	return nil
}

// recoverProcess finds a started container's process with the keeper, or its exit there, or
// records that both are lost.
func (r *recovery) recoverProcess(ctx context.Context, c *store.Container, live *process) error {
	held := r.processes[c.ID]
	var err error
	if live.group, err = loadCgroup(r.Cgroups, c); err != nil {
		return err
	}
	if held.State != keeper.Running {
		end := keeper.Exit{Key: string(c.ID), Time: time.Now()}
		if held.State == keeper.Exited {
			end = held.Exit
		}
		live.once.Do(func() { err = (&ending{r.Runtime, live, end}).record(ctx) })
		return err
	}
	if live.output, err = r.Keeper.Fetch(ctx, string(c.ID)); err != nil {
		return err
	}
	live.pidfd, live.output.PidFD = live.output.PidFD, nil
	if err := live.recoverStdin(ctx, r.Keeper, c); err != nil {
		return err
	}
	if c.State == store.ContainerRunning {
		return nil
	}
	_, err = r.Store.Update(c.Pod, changeContainer(c.ID, func(c *store.Container) (err error) {
		c.Pid, c.StartedAt, c.Namespaces = held.Pid, time.Now(), namespacesOf(held.Pid, c.OCI)
		c.State, err = c.State.Next(store.ContainerStarted)
		return err
	}))
	return err
}

func (r *recovery) fetchPidFD(ctx context.Context, key string) (*os.File, error) {
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
func (r *recovery) endStray(ctx context.Context, p keeper.Process) error {
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

func (r *recovery) finishRemoval(ctx context.Context, c *store.Container) error {
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
func (r *recovery) sweep(ctx context.Context) error {
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
		r.sweepCustody(ctx, pods, containers),
		sweepDir(r.layout.Dir, pods, func(name string) error {
			id := spec.PodID(name)
			return errors.Join(sandbox.Release(ctx, id, r.layout, r.Keeper), sandbox.Remove(id, r.layout))
		}),
		sweepDir(string(r.layers), containers, func(name string) error {
			return os.RemoveAll(r.layers.dir(spec.ContainerID(name)))
		}),
		r.Network.GC(ctx, live),
	)
}

func (r *recovery) sweepCustody(ctx context.Context, pods, containers map[string]bool) error {
	var errs []error
	for _, p := range r.held.Processes {
		init, isInit := sandbox.InitOf(p.Key)
		if known := containers[p.Key] || isInit && pods[string(init)]; !known {
			errs = append(errs, r.endStray(ctx, p))
		}
	}
	for _, key := range r.held.Stored {
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
