package stream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"tare/spec"
)

// opForward is what a session of port-forward is called in the log.
const opForward = "port-forward"

// adapter is the library's Runtime: it calls ours.
type adapter struct {
	runtime Runtime
	conns   *listener
	log     *slog.Logger
}

// Exec runs a command in a session. An exit code other than 0 is the error the library wants.
func (a *adapter) Exec(ctx context.Context, target string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id, s := parseTarget(target, spec.Streams{Stdin: in, Stdout: out, Stderr: errOut, TTY: tty, Resize: sizes(ctx, resize)})
	var code int32
	err := a.session("exec", slog.String("container", string(id)), func() (err error) {
		code, err = a.runtime.Exec(ctx, id, cmd, s)
		return err
	})
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command exited with code %d", code), Code: int(code)}
	}
	return err
}

// Attach joins a session to a container. It ends with the client's connection, even where nothing
// is said.
func (a *adapter) Attach(ctx context.Context, target string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	gone := goneOf(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the session
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	id, s := parseTarget(target, spec.Streams{Stdin: in, Stdout: out, Stderr: errOut, TTY: tty, Resize: sizes(ctx, resize)})
	return a.session("attach", slog.String("container", string(id)), func() error {
		err := a.runtime.Attach(ctx, id, s)
		select {
		case <-gone: // whatever it is, nobody hears it
			return nil
		default:
			return err
		}
	})
}

// PortForward connects a stream with a port of a pod. Its context is nobody's: the stream's
// connection bounds it.
//
// The library may call it before it has answered the request for the stream. An error of ours resets the stream,
// and of one that is reset before the answer client-go knows nothing but that: what the error stream says, it does not read.
func (a *adapter) PortForward(ctx context.Context, pod string, port int32, stream io.ReadWriteCloser) error {
	if s, ok := stream.(answerer); ok {
		if err := s.SendReply(http.Header{}, false); err != nil {
			return err
		}
	}
	if port < 1 || port > math.MaxUint16 {
		return fmt.Errorf("port %d is not between 1 and %d: %w", port, math.MaxUint16, errdefs.ErrInvalidArgument)
	}
	return a.session(opForward, slog.String("pod", pod), func() error {
		to, err := a.runtime.Dial(ctx, spec.PodID(pod), uint16(port))
		if err != nil {
			return err
		}
		f := &forwarding{stream: stream, to: to}
		var gone <-chan struct{}
		if half, ok := stream.(halfCloser); ok {
			f.half, gone = half, a.conns.gone(half.RemoteAddr())
		}
		return f.forward(gone)
	})
}

// answerer is a stream whose request is answered, by whoever is the first to: SPDY's.
type answerer interface {
	SendReply(headers http.Header, fin bool) error
}

// session runs one, and logs its end. A forwarded port has many, one for each connection.
func (a *adapter) session(op string, of slog.Attr, run func() error) error {
	done, err := a.conns.begin()
	if err != nil {
		return err
	}
	defer done()
	start := time.Now()
	err = run()
	attrs := []any{slog.String("op", op), of, slog.Duration("dur", time.Since(start))}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	level := slog.LevelInfo
	if op == opForward {
		level = slog.LevelDebug
	}
	a.log.Log(context.Background(), level, "session", attrs...)
	return err
}

// sizes translates. The goroutine ends with the session, or the sizes.
func sizes(ctx context.Context, from <-chan remotecommand.TerminalSize) <-chan spec.TerminalSize {
	if from == nil {
		return nil
	}
	to := make(chan spec.TerminalSize)
	go func() {
		defer close(to)
		for s := range from {
			select {
			case to <- spec.TerminalSize{Width: s.Width, Height: s.Height}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to
}
