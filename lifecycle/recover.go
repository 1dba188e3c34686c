package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tare/crash"
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
	ctx, r.stopEnds = context.WithCancel(ctx)
	listing, err := listSettled(ctx, r.Keeper)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	rec := recovery{
		Runtime: r, held: listing, processes: map[spec.ContainerID]keeper.Process{}, continuous: map[spec.PodID]bool{},
		turns: make(chan struct{}, parallelEnds),
	}
	for _, p := range listing.Processes {
		rec.processes[spec.ContainerID(p.Key)] = p
	}
	for _, key := range listing.Stored {
		if id, ok := sandbox.CustodyOf(key); ok {
			rec.continuous[id] = true
		}
	}
	return rec.run(ctx, broken)
}

const (
	// launchBound is how long a launch that the daemon before had asked for is waited for.
	launchBound = 10 * time.Second
	// launchPause is waited before it is looked for again.
	launchPause = 5 * time.Millisecond
)

// listSettled lists what the keeper holds when none of it is on its way any more.
func listSettled(ctx context.Context, k *keeper.Client) (keeper.Listing, error) {
	for deadline := time.Now().Add(launchBound); ; time.Sleep(launchPause) {
		l, err := k.List(ctx)
		launching := slices.ContainsFunc(l.Processes, func(p keeper.Process) bool { return p.State == keeper.Launching })
		if err != nil || !launching || time.Now().After(deadline) {
			return l, err
		}
	}
}

// recovery is a runtime that has just started, with what its keeper held then.
type recovery struct {
	*Runtime
	held      keeper.Listing
	processes map[spec.ContainerID]keeper.Process
	// continuous are the pods that this keeper has known from their beginning: it has all their processes.
	continuous map[spec.PodID]bool

	turns chan struct{}  // of what is brought to its end, see behind
	ends  sync.WaitGroup // all of it
}

func (r *recovery) run(ctx context.Context, broken []store.Broken) error {
	if err := r.recoverInits(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, b := range broken {
		r.Log.Warn("record cannot be read, removing what it stood for", slog.String("pod", string(b.ID)), slog.Any("err", b.Err))
		r.behind(b.ID, func() error { return r.dismantle(ctx, b.ID) })
	}
	crash.Point("recovery.inits-found")
	if err := r.recoverPods(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	r.report("", r.sweep(ctx))
	crash.Point("recovery.swept")
	var err error
	if r.bare, err = sandbox.NewBare(ctx, r.Keeper); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	r.spares.Fill(ctx)
	r.awaitEnds()
	return nil
}

// recoverPods recovers pods side by side: most of it is waiting for the keeper's answers. It fails if the keeper is lost
// meanwhile, which says nothing about the pods.
func (r *recovery) recoverPods(ctx context.Context) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelPods)
	pods := r.Store.Pods()
	errs := make([]error, len(pods))
	for i, p := range pods {
		slots <- struct{}{}
		wg.Go(func() { // ends with the pod
			defer func() { <-slots }()
			r.report(p.ID, r.selinux.Keep(p.SELinux))
			errs[i] = r.recoverPod(ctx, p)
			r.report(p.ID, errs[i])
			crash.Point("recovery.pod-recovered")
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); keeperLost(r.Keeper, err) {
		return err
	}
	return nil
}

const (
	// parallelPods is how many pods are recovered at once.
	parallelPods = 16
	// endsPatience is how long the daemon waits before it serves for what is being brought to its end. A process that
	// waits for a file system, or a plugin that hangs, holds up calls about its own pod only.
	endsPatience = time.Second
	// parallelEnds is how many pods are brought to their ends at once.
	parallelEnds = 16
)

// behind brings something of a pod to its end, with the pod's lock held: who calls about the pod waits for that.
func (r *recovery) behind(id spec.PodID, steps ...func() error) {
	locked := make(chan struct{})
	r.ends.Add(1)
	r.wg.Add(1)
	go func() { // ends with the steps, whose waits have bounds
		defer r.wg.Done()
		defer r.ends.Done()
		defer r.locks.Lock(id)()
		close(locked)
		r.turns <- struct{}{}
		defer func() { <-r.turns }()
		for _, step := range steps {
			if err := step(); err != nil { // the next start begins here again
				r.report(id, err)
				return
			}
		}
	}()
	<-locked
}

// awaitEnds waits until all is brought to its end, for a while.
func (r *recovery) awaitEnds() {
	done := make(chan struct{})
	go func() { r.ends.Wait(); close(done) }() // ends with the steps
	select {
	case <-done:
	case <-time.After(endsPatience):
		r.Log.Warn("some pods are still being brought to their ends")
	}
}

func (r *recovery) report(id spec.PodID, err error) {
	if err != nil {
		r.Log.Error("recover", slog.String("pod", string(id)), slog.Any("err", err))
	}
}

// recoverPod does with each state what its comment in package store says. What lives is adopted at once.
func (r *recovery) recoverPod(ctx context.Context, p *store.Pod) error {
	var errs []error
	var ends []func() error
	for _, c := range p.Containers {
		end, err := r.recoverContainer(ctx, p, c)
		if end != nil {
			ends = append(ends, end)
		}
		errs = append(errs, err)
		crash.Point("recovery.container-recovered")
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	switch p.State {
	case store.PodCreating, store.PodRemoving:
		ends = append(ends, func() error { return r.dismantle(ctx, p.ID) })
	case store.PodNotReady:
		ends = append(ends, func() error { return r.stopPod(ctx, p.ID) })
	default:
		plan := sandbox.New(p.ID, &p.Spec, r.layout)
		sb, err := plan.Adopt(ctx, r.Keeper)
		if keeperLost(r.Keeper, err) {
			return err
		}
		if err != nil {
			r.Log.Warn("sandbox is lost", slog.String("pod", string(p.ID)), slog.Any("err", err))
			ends = append(ends, func() error { return r.stopPod(ctx, p.ID) })
			break
		}
		r.keepSandbox(sb)
	}
	if len(ends) > 0 {
		r.behind(p.ID, ends...)
	}
	return nil
}

// recoverContainer adopts a container, or returns what brings it to its end.
func (r *recovery) recoverContainer(ctx context.Context, p *store.Pod, c *store.Container) (end func() error, err error) {
	if _, err := holdImages(ctx, r.Images, c); err != nil {
		r.Log.Warn("layers of a container's image are lost", slog.String("container", string(c.ID)), slog.Any("err", err))
	}
	live := newProcess(c.ID, drivenBy(r.Runtime, p, c.ID))
	r.keepProcess(live)
	switch c.State {
	case store.ContainerExited:
		close(live.started)
		close(live.exited)
		return func() error {
			return all(
				func() error { return removeCgroup(ctx, r.Runtime, p, c) },
				func() error { return live.leaveCustody(ctx, r.Keeper, c) },
			)
		}, nil
	case store.ContainerStarting, store.ContainerRunning:
		return r.recoverProcess(ctx, p, c, live)
	case store.ContainerRemoving:
		close(live.started) // its exit may come meanwhile
		return func() error { return r.finishRemoval(ctx, p, c) }, nil
	}
	return nil, nil
}

// recoverProcess finds a started container's process with the keeper, or returns what records its exit there, or
// that both are lost.
func (r *recovery) recoverProcess(ctx context.Context, p *store.Pod, c *store.Container, live *process) (end func() error, err error) {
	defer close(live.started)
	held := r.processes[c.ID]
	if live.group, err = loadCgroup(r.Cgroups, c); err != nil {
		return nil, err
	}
	if held.State == 0 && c.State == store.ContainerStarting && r.continuous[c.Pod] {
		return func() error { return r.undoStart(ctx, p, c) }, nil
	}
	if held.State != keeper.Running {
		exit := keeper.Exit{Key: string(c.ID), Time: time.Now()}
		if held.State == keeper.Exited {
			exit = held.Exit
		}
		return func() (err error) {
			live.once.Do(func() { err = (&ending{r.Runtime, live, exit}).record(ctx) })
			return err
		}, nil
	}
	if c.State == store.ContainerStarting && live.driven != nil {
		return func() error { return r.undoCreated(ctx, p, c, live) }, nil
	}
	if live.output, err = r.Keeper.Fetch(ctx, string(c.ID)); err != nil {
		return nil, err
	}
	live.pidfd, live.output.PidFD = live.output.PidFD, nil
	if log := live.output.Log; log != nil {
		// Not held: the disk space of one that is rotated and removed is to be free.
		live.output.Log = nil
		r.ends.Go(func() { // ends with the disk's answers, for which serving does not wait long
			defer log.Close()
			r.report(c.Pod, r.recoverLog(ctx, c, log))
		})
	}
	if err := live.recoverStdin(ctx, r.Keeper, c); err != nil {
		return nil, err
	}
	if c.State == store.ContainerRunning {
		return nil, nil
	}
	_, err = r.Store.Update(c.Pod, changeContainer(c.ID, func(c *store.Container) (err error) {
		c.Pid, c.StartedAt, c.Namespaces = held.Pid, time.Now(), namespacesOf(held.Pid, c.OCI)
		c.State, err = c.State.Next(store.ContainerStarted)
		return err
	}))
	return nil, err
}

func (r *recovery) recoverLog(ctx context.Context, c *store.Container, written *os.File) error {
	p, err := r.Store.Pod(c.Pod)
	if err != nil {
		return err
	}
	l := containerLog{r.Runtime, p, c}
	return l.recover(ctx, written)
}

// undoStart makes a container created again whose program was never run.
func (r *recovery) undoStart(ctx context.Context, p *store.Pod, c *store.Container) error {
	r.dropProcess(c.ID)
	if err := removeCgroup(ctx, r.Runtime, p, c); err != nil {
		return err
	}
	_, err := r.Store.Update(c.Pod, changeContainer(c.ID, func(c *store.Container) (err error) {
		c.State, err = c.State.Next(store.ContainerUndo)
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

func (r *recovery) finishRemoval(ctx context.Context, p *store.Pod, c *store.Container) error {
	if err := r.removeContainer(ctx, p, c); err != nil {
		return err
	}
	_, err := r.Store.Note(c.Pod, func(p *store.Pod) error {
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
	defer func() { r.behind("", func() error { return r.Network.GC(ctx, live) }) }()
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
		r.drivers.sweep(r.Store.Pods(), containers),
		sweepDir(string(r.bundles), containers, func(name string) error {
			return os.RemoveAll(r.bundles.dir(spec.ContainerID(name)))
		}),
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
