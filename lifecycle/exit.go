package lifecycle

import (
	"context"
	"log/slog"
	"syscall"

	"github.com/containerd/errdefs"

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
	pod, c, err := e.Store.Container(live.id)
	if err != nil {
		return err
	}
	oom, err := oomKilled(live)
	if err != nil {
		e.Log.Warn("read oom events", slog.String("container", string(live.id)), slog.Any("err", err))
	}
	_, err = e.Store.Update(pod.ID, changeContainer(live.id, func(c *store.Container) (err error) {
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
	return all(
		func() error { return removeCgroup(ctx, e.Cgroups, c) },
		func() error { return live.leaveCustody(ctx, e.Keeper, c) },
		func() error { e.hooksOf(pod, c).poststop(ctx); return nil },
	)
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
