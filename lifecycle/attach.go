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
	t, err := r.running(id)
	if err != nil {
		return err
	}
	if s.TTY != t.ctr.Spec.TTY {
		return fmt.Errorf("tty: is %t, the container's is %t: %w", s.TTY, t.ctr.Spec.TTY, errdefs.ErrInvalidArgument)
	}
	sub, err := r.Keeper.Subscribe(ctx, string(id), s.Stdout != nil, s.Stderr != nil)
	if err != nil {
		return err
	}
	defer sub.Close()
	if t.live.output.Console != nil && s.Resize != nil {
		go resize(t.live.output.Console, s.Resize) // ends with the client's connection
	}
	input, stop, err := t.attachInput(ctx, s.Stdin)
	if err != nil {
		return err
	}
	defer stop()
	var output <-chan error
	var over, exited <-chan struct{}
	if s.Stdout != nil || s.Stderr != nil {
		output = t.attachOutput(sub, s)
	} else {
		over, exited = input, t.live.exited
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
func (t *target) attachInput(ctx context.Context, from io.Reader) (<-chan struct{}, func(), error) {
	ended := make(chan struct{})
	if from == nil || t.live.stdin == nil {
		close(ended)
		return ended, func() {}, nil
	}
	file, err := t.live.stdin.take()
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		if file != nil {
			t.live.stdin.release(file)
		}
		if t.ctr.Spec.StdinOnce {
			t.endStdin(ctx)
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
func (t *target) endStdin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := t.live.closeStdin(ctx, t.Keeper, t.ctr); err != nil {
		t.Log.Error("close stdin", "container", string(t.ctr.ID), "err", err)
	}
}

// attachOutput passes the container's outputs on. The channel has how that ended.
func (t *target) attachOutput(sub *keeper.Subscription, s spec.Streams) <-chan error {
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
	go func() { ended <- t.awaitOutput(passing, each, status) }()
	return ended
}

// awaitOutput waits for the end of all outputs and of the subscription, or for the first error.
func (t *target) awaitOutput(passing int, each, status <-chan error) error {
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
	case <-t.Keeper.Lost():
		return errKeeperLost
	default:
		return nil
	}
}
