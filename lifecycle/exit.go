package lifecycle

import (
	"context"
	"log/slog"
	"syscall"

	"github.com/containerd/errdefs"

	"tare/crash"
	"tare/keeper"
	"tare/spec"
	"tare/store"
)

// Words for how a container ended; "OOMKilled" and "Completed" are what the kubelet knows.
const (
	reasonCompleted = "Completed"
	reasonError     = "Error"
	reasonOOM       = "OOMKilled"
	reasonUnknown   = "Unknown"
)

// exitKilled is the exit code of SIGKILL.
const exitKilled = 128 + int32(syscall.SIGKILL)

// exitUnknown is the exit code of a process nobody saw ending.
const exitUnknown = 255

// Exited takes the end of a container's process from the keeper. It returns at once; the exit is
// on record when the container's start is, and soon after.
func (r *Runtime) Exited(e keeper.Exit) {
	live := r.processOf(spec.ContainerID(e.Key))
	r.wg.Add(1)
	go func() { // ends when the exit is on record
		defer r.wg.Done()
		if live == nil { // recovery found no record of it and killed it
			if err := r.Keeper.Forget(context.Background(), e.Key); err != nil {
				r.Log.Warn("forget process", slog.String("process", e.Key), slog.Any("err", err))
			}
			return
		}
		<-live.started
		live.once.Do(func() {
			if err := (&ending{r, live, e}).record(context.Background()); err != nil {
				r.Log.Error("record exit", slog.String("container", e.Key), slog.Any("err", err))
			}
		})
	}()
}

// ending is the end of a container's first process.
type ending struct {
	*Runtime
	live *process
	exit keeper.Exit
}

// record writes the exit into the record and ends what the container may have left running;
// who waits for the exit finds the cgroup gone.
func (e *ending) record(ctx context.Context) error {
	live := e.live
	defer close(live.exited)
	pod, _, err := e.Store.Container(live.id)
	if err != nil {
		return err
	}
	crash.Point("container-exit.reported")
	oom, err := oomKilled(live)
	if err != nil {
		e.Log.Warn("read oom events", slog.String("container", string(live.id)), slog.Any("err", err))
	}
	pod, err = e.Store.Note(pod.ID, changeContainer(live.id, func(c *store.Container) (err error) {
		c.Pid, c.FinishedAt = 0, e.exit.Time
		if c.FinishedAt.Before(c.StartedAt) { // it ended before its start was on record
			c.FinishedAt = c.StartedAt
		}
		c.ExitCode, c.Reason = verdict(e.exit, oom)
		c.State, err = c.State.Next(store.ContainerExit)
		return err
	}))
	if err != nil {
		return err
	}
	c := pod.Containers[live.id]
	crash.Point("container-exit.stored")
	e.tellPlugins(ctx, pod, c)
	return all(
		func() error { return removeCgroup(ctx, e.Runtime, pod, c) },
		passed("container-exit.cgroup-removed"),
		func() error { return e.leaveCustody(ctx, c) },
		passed("container-exit.custody-left"),
		func() error { e.hooksOf(pod, c).poststop(ctx); return nil },
	)
}

// leaveCustody has the keeper forget the container, unless it alone would know the exit after a crash: the record
// could not be written. Then the removal does.
func (e *ending) leaveCustody(ctx context.Context, c *store.Container) error {
	if e.Store.Behind(c.Pod) {
		return nil
	}
	return e.live.leaveCustody(ctx, e.Keeper, c)
}

// oomKilled says whether the kernel killed processes of the container for want of memory, after which
// nobody here killed it. Read before the cgroup goes.
func oomKilled(live *process) (bool, error) {
	if live.group == nil {
		return false, nil
	}
	n, err := live.group.OOM()
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return n > 0 && n+1 != live.oomsAtKill.Load(), err
}

// verdict is the exit code, as shells count it, and the reason. The kernel counts whom it kills for want of
// memory, it does not name them: what ends by SIGKILL, or passes on as its own exit code that its command
// did, was ended by that. What outlives a child killed for memory was not, however it ends later.
func verdict(e keeper.Exit, oom bool) (code int32, reason string) {
	code = exitCode(e.Status)
	switch {
	case !e.Known:
		return exitUnknown, reasonUnknown
	case code == 0:
		return 0, reasonCompleted
	case oom && code == exitKilled:
		return code, reasonOOM
	}
	return code, reasonError
}

func exitCode(ws syscall.WaitStatus) int32 {
	if ws.Signaled() {
		return 128 + int32(ws.Signal())
	}
	return int32(ws.ExitStatus())
}
