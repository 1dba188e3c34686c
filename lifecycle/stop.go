package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/crash"
	"tare/spec"
	"tare/store"
)

// errStillRunning is what waiting for a process gives when it does not end.
var errStillRunning = errors.New("process does not end")

// StopContainer sends the container's stop signal, and SIGKILL to all of it if it has not ended
// after grace. It returns when the exit is on record. A container that does not run, or is not
// there, is stopped; one whose start is under way is when that has ended. Calls do not wait for each other: a later one with a shorter grace counts.
func (r *Runtime) StopContainer(ctx context.Context, id spec.ContainerID, grace time.Duration) error {
	_, c, err := r.Store.Container(id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	live := r.processOf(id)
	if live == nil {
		return nil
	}
	if c.State == store.ContainerStarting || c.State == store.ContainerRunning { // hooks may hold up a start before it runs, and after
		if err := live.settled(ctx); err != nil {
			return err
		}
	}
	if !live.running() {
		return nil
	}
	if grace > 0 {
		sig := c.StopSignal
		if sig == 0 {
			sig = unix.SIGTERM
		}
		if err := live.signal(sig); err != nil {
			return err
		}
		crash.Point("container-stop.signalled")
		if err := live.wait(ctx, grace); !errors.Is(err, errStillRunning) {
			return err
		}
	}
	if err := live.kill(ctx); err != nil {
		return err
	}
	crash.Point("container-stop.killed")
	return live.wait(ctx, killTimeout)
}
