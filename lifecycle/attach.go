package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"tare/keeper"
	"tare/spec"
	"tare/store"
)

// closeTimeout is how long closing a stdin for good may take, which nobody waits for.
const closeTimeout = 10 * time.Second

// leaveTimeout is how long the input of a client that has gone may take to arrive.
const leaveTimeout = time.Second

// Attach joins a client's streams to those of a running container's first process, beside others who
// are attached, and the log. It returns when the output has ended, or ctx, or of a session without
// outputs the input. Of a terminal, the last size that a client sent counts. A stdin that is
// for one session (stdin_once) is closed for good when the session's input ends, or the session does.
func (r *Runtime) Attach(ctx context.Context, id spec.ContainerID, s spec.Streams) error {
	_, c, live, err := r.running(id)
	if err != nil {
		return err
	}
	if s.TTY != c.Spec.TTY {
		return fmt.Errorf("tty: is %t, the container's is %t: %w", s.TTY, c.Spec.TTY, errdefs.ErrInvalidArgument)
	}
	sub, err := r.Keeper.Subscribe(ctx, string(id), s.Stdout != nil, s.Stderr != nil)
	if err != nil {
		return err
	}
	defer sub.Close()
	if live.output.Console != nil && s.Resize != nil {
		go resize(live.output.Console, s.Resize) // ends with the client's connection
	}
	input, stop, err := r.attachInput(ctx, c, live, s.Stdin)
	if err != nil {
		return err
	}
	defer stop()
	var output <-chan error
	var over, exited <-chan struct{}
	if s.Stdout != nil || s.Stderr != nil {
		output = r.attachOutput(sub, s)
	} else {
		over, exited = input, live.exited
	}
	select {
	case err := <-output:
		return err
	case <-over:
		return nil
	case <-exited:
		return nil
	case <-ctx.Done():
	}
	select { // what the client had sent before it left
	case <-input:
	case <-time.After(leaveTimeout):
	}
	return context.Cause(ctx)
}

// attachInput passes a client's input on. The channel closes at its end; stop ends it.
func (r *Runtime) attachInput(ctx context.Context, c *store.Container, live *process, from io.Reader) (<-chan struct{}, func(), error) {
	ended := make(chan struct{})
	if from == nil || live.stdin == nil {
		close(ended)
		return ended, func() {}, nil
	}
	file, err := live.stdin.take()
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		if file != nil {
			live.stdin.release(file)
		}
		if c.Spec.StdinOnce {
			r.endStdin(ctx, c)
		}
	}
	go func() { // ends with the client's input, or its connection
		defer close(ended)
		if file == nil { // closed after an earlier session
			_, _ = io.Copy(io.Discard, from)
			return
		}
		drain(file, from)
		stop()
	}()
	return ended, stop, nil
}

// endStdin closes the stdin of a container after a session, whose own context may be over.
func (r *Runtime) endStdin(ctx context.Context, c *store.Container) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := r.closeStdin(ctx, c); err != nil {
		r.Log.Error("close stdin", "container", string(c.ID), "err", err)
	}
}

// attachOutput passes the container's outputs on. The channel has how that ended.
func (r *Runtime) attachOutput(sub *keeper.Subscription, s spec.Streams) <-chan error {
	passing := 0
	each := make(chan error, 2)
	pass := func(to io.Writer, from *os.File) {
		if to != nil {
			passing++
			go func() { each <- new(backlog).pass(to, from) }() // ends with the output, or the subscription
		}
	}
	pass(s.Stdout, sub.Stdout)
	pass(s.Stderr, sub.Stderr)
	status, ended := make(chan error, 1), make(chan error, 1)
	go func() { status <- sub.Err() }() // ends with the subscription
	go func() { ended <- r.awaitOutput(passing, each, status) }()
	return ended
}

// awaitOutput waits for the end of all outputs and of the subscription, or for the first error.
func (r *Runtime) awaitOutput(passing int, each, status <-chan error) error {
	for passing > 0 || status != nil {
		select {
		case err := <-each:
			if err != nil { // the client has gone, or should
				return err
			}
			passing--
		case err := <-status:
			if errors.Is(err, keeper.ErrBehind) {
				return errTooSlow
			}
			status = nil
		}
	}
	select {
	case <-r.Keeper.Lost():
		return errKeeperLost
	default:
		return nil
	}
}
