package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/oci"
	"tare/spec"
	"tare/store"
)

// Exec runs a command in a running container with a client's streams, and returns its exit code once
// all its output was passed on. Nothing kills the command when the client goes away, but it notices:
// its input ends, its output breaks (SIGPIPE), its terminal hangs up (SIGHUP). When ctx ends, Exec
// returns, and the command is killed with the daemon's connection to the keeper at the latest.
func (r *Runtime) Exec(ctx context.Context, id spec.ContainerID, cmd []string, s spec.Streams) (int32, error) {
	t, err := r.running(id)
	if err != nil {
		return 0, err
	}
	var x session
	defer x.close()
	if err := x.open(s, hostUser(t.pod, t.ctr)); err != nil {
		return 0, err
	}
	defer t.done()
	ran, err := t.enter(ctx, cmd, x.child)
	if err != nil {
		return 0, err
	}
	defer ran.PidFD.Close()
	if err := x.started(ran); err != nil {
		return 0, err
	}
	x.copy(s)
	defer x.wait()
	select {
	case e, ok := <-ran.Exited:
		return t.verdict(execResult(ran, e, ok))
	case <-ctx.Done():
		x.close()
		return 0, context.Cause(ctx)
	}
}

// target is a running container that an exec or a session goes to.
type target struct {
	*Runtime
	pod  *store.Pod
	ctr  *store.Container
	live *process
	// command is the one an OCI runtime was given; nil: none
	command *oci.Command
}

// running finds a container that runs; all others are ErrFailedPrecondition, or ErrNotFound.
func (r *Runtime) running(id spec.ContainerID) (*target, error) {
	pod, c, err := r.Store.Container(id)
	if err != nil {
		return nil, err
	}
	live := r.processOf(id)
	if c.State != store.ContainerRunning || live == nil || !live.running() {
		return nil, fmt.Errorf("container %s is %s, not running: %w", id.Short(), c.State, errdefs.ErrFailedPrecondition)
	}
	return &target{Runtime: r, pod: pod, ctr: c, live: live}, nil
}

// session is the descriptors of one exec.
type session struct {
	child   [3]*os.File // the command's; nil, all three: a terminal
	null    *os.File    // what of them the client did not ask for
	in      *os.File    // ours, where the client asked for them
	outputs [2]*os.File
	console *os.File // the terminal's master, which is in and output at once
	wg      sync.WaitGroup
}

// open makes the pipes that the client's streams need; the command's other descriptors are
// /dev/null. A terminal is made by the program.
func (x *session) open(s spec.Streams, o owner) error {
	if s.TTY {
		return nil
	}
	var err error
	if x.null, err = nsutil.OpenNull(unix.O_RDWR); err != nil {
		return err
	}
	x.child = [3]*os.File{x.null, x.null, x.null}
	if s.Stdin != nil {
		if x.child[0], x.in, err = openPipe(o, writeEnd); err != nil {
			return err
		}
	}
	for i, w := range []io.Writer{s.Stdout, s.Stderr} {
		if w == nil {
			continue
		}
		if x.outputs[i], x.child[1+i], err = openPipe(o, readEnd); err != nil {
			return err
		}
	}
	return nil
}

// started lets go of the command's descriptors, which it has of its own now, and takes the master of its
// terminal.
func (x *session) started(ran keeper.Ran) (err error) {
	if x.child[0] != nil {
		x.letGo()
		return nil
	}
	if len(ran.Given) != 1 {
		nsutil.CloseAll(ran.Given)
		return errors.New("the command's terminal was not given")
	}
	x.console, err = nsutil.Pollable(ran.Given[0])
	return err
}

// copy begins to pass data between the client and the command.
func (x *session) copy(s spec.Streams) {
	if x.console != nil {
		x.copyConsole(s)
		return
	}
	if x.in != nil {
		go feed(x.in, s.Stdin) // ends with the client's connection
	}
	for i, w := range []io.Writer{s.Stdout, s.Stderr} {
		if w != nil {
			x.wg.Go(func() { relay(w, x.outputs[i]) }) // ends with the output, or by wait
		}
	}
}

// copyConsole is copy with a terminal. It hangs up when the client has gone: it says so by
// the end of both its window and its input, each of which may end alone.
func (x *session) copyConsole(s spec.Streams) {
	out := s.Stdout
	if out == nil {
		out = io.Discard
	}
	x.wg.Go(func() { relay(out, x.console) }) // ends with the output, or by wait
	input := make(chan struct{})
	go func() { // both end with the client's connection
		defer close(input)
		if s.Stdin != nil {
			drain(x.console, s.Stdin)
		}
	}()
	if s.Resize != nil {
		go func() {
			resize(x.console, s.Resize)
			<-input
			x.console.Close()
		}()
	}
}

// wait returns when all output was passed on. What the command itself wrote is in the pipe when it
// has ended; another process may hold the pipe, and is heard as long as it is not silent for
// execDrain.
func (x *session) wait() {
	for _, f := range []*os.File{x.outputs[0], x.outputs[1], x.console} {
		if f != nil {
			f.SetReadDeadline(time.Now().Add(execDrain))
		}
	}
	x.wg.Wait()
}

// close closes what is left. The command's input ends, its terminal hangs up.
func (x *session) close() {
	x.letGo()
	nsutil.CloseAll([]*os.File{x.in, x.outputs[0], x.outputs[1], x.console})
}

// letGo closes the command's descriptors.
func (x *session) letGo() { nsutil.CloseAll(append(x.child[:], x.null)) }

// feed passes a client's input on, and its end.
func feed(to *os.File, from io.Reader) {
	defer to.Close()
	drain(to, from)
}

// drain passes a client's input on for as long as somebody takes it, and throws the rest away: a
// client that nobody reads from cannot be heard to say anything else, resize or leave.
func drain(to io.Writer, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = io.Copy(io.Discard, from)
	}
}

// relay passes an output on until its end, and closes it: should the client have gone, who writes
// learns of it. With a read deadline, which wait sets, silence counts as the end.
func relay(to io.Writer, from *os.File) {
	defer from.Close()
	buf := make([]byte, 32<<10)
	heard := false
	for {
		n, err := from.Read(buf)
		data := buf[:n]
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		if silent {
			data = remains(from)
		}
		if len(data) > 0 {
			heard = true
			if _, err := to.Write(data); err != nil {
				return
			}
		}
		switch {
		case err == nil:
		case silent && heard:
			heard = false
			from.SetReadDeadline(time.Now().Add(execDrain))
		default: // the end; of a terminal: EIO, pty(7)
			return
		}
	}
}

// resize sets a terminal's size to each that comes, until none will come.
func resize(console *os.File, sizes <-chan spec.TerminalSize) {
	for size := range sizes {
		// Of a terminal that is gone, there is no size.
		_ = nsutil.SetTerminalSize(console, size.Width, size.Height)
	}
}
