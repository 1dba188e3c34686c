package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/container"
	"tare/crash"
	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
	"tare/trace"
)

const (
	// maxExecOutput is how much of each stream of an ExecSync is kept, 16 MiB as CRI demands;
	// the rest is read and dropped, so that the process is not held up.
	maxExecOutput = 16 << 20
	// execDrain is how long output is waited for after the process has ended: another process
	// may hold the pipe for ever.
	execDrain = 250 * time.Millisecond
	// execKill is how long the end of a killed process is waited for, whose caller's time is over.
	execKill = 50 * time.Millisecond
	// endingBound is how long a container whose PID namespace takes no more processes has to end.
	endingBound = time.Second
)

// ExecSync runs a command in a running container and returns its output and exit code. When
// timeout (0: none) is over, the command is killed with its descendants and ErrDeadlineExceeded
// returned. A background child of the command that holds its output never holds up the call.
func (r *Runtime) ExecSync(ctx context.Context, id spec.ContainerID, cmd []string, timeout time.Duration) (spec.ExecResult, error) {
	t, err := r.running(id)
	if err != nil {
		return spec.ExecResult{}, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errExecTimeout(timeout))
		defer cancel()
	}
	return t.execSync(ctx, cmd)
}

func errExecTimeout(d time.Duration) error {
	return fmt.Errorf("command did not end within %s and was killed: %w", d, context.DeadlineExceeded)
}

func (t *target) execSync(ctx context.Context, cmd []string) (spec.ExecResult, error) {
	var out, errOut capture
	defer out.close()
	defer errOut.close()
	stdin, err := nsutil.OpenNull(unix.O_RDONLY)
	if err != nil {
		return spec.ExecResult{}, err
	}
	defer stdin.Close()
	if err := errors.Join(out.open(hostUser(t.pod, t.ctr)), errOut.open(hostUser(t.pod, t.ctr))); err != nil {
		return spec.ExecResult{}, err
	}
	crash.Point("exec.pipes-made")
	defer t.done()
	ran, err := t.enter(ctx, cmd, [3]*os.File{stdin, out.write, errOut.write})
	out.started()
	errOut.started()
	if err != nil {
		return spec.ExecResult{}, err
	}
	defer ran.PidFD.Close()
	crash.Point("exec.launched")
	ctx, step := trace.Start(ctx, "command")
	defer step.End(&err)
	code, err := t.verdict(await(ctx, ran))
	crash.Point("exec.ended")
	if err != nil {
		return spec.ExecResult{}, err
	}
	finish(&out, &errOut)
	return spec.ExecResult{Stdout: out.bytes(), Stderr: errOut.bytes(), ExitCode: code}, nil
}

// enter launches a command in the container.
func (t *target) enter(ctx context.Context, cmd []string, stdio [3]*os.File) (_ keeper.Ran, err error) {
	ctx, step := trace.Start(ctx, "program")
	defer step.End(&err)
	if t.live.driven != nil {
		return t.enterDriven(ctx, cmd, stdio)
	}
	sb, err := t.sandboxOf(t.pod.ID)
	if err != nil {
		return keeper.Ran{}, err
	}
	join, err := joinCgroup(t.live.group)
	if err != nil {
		return keeper.Ran{}, err
	}
	defer join.Dir.Close()
	filter, err := t.filter(t.ctr)
	if err != nil {
		return keeper.Ran{}, err
	}
	program, err := container.Enter(container.Entry{
		OCI: t.ctr.OCI, Sandbox: sb, PidFD: t.live.pidfd, Cgroup: join, Args: cmd, Stdio: stdio,
		Seccomp: filter, OOMScoreFloor: t.oomFloor,
	})
	if err != nil {
		return keeper.Ran{}, err
	}
	key := fmt.Sprintf("exec/%s/%d", t.ctr.ID, t.execs.Add(1))
	ran, err := t.Keeper.Run(ctx, keeper.Run{Key: key, Program: program, Tether: true})
	if err != nil {
		return keeper.Ran{}, t.whetherEnded(explainExec(cmd[0], t.ctr.OCI.Process.Cwd, err))
	}
	return ran, nil
}

// whetherEnded gives an error a class that may be there because the container is ending, and its cgroup and PID namespace, which
// the command was to join, with it.
func (t *target) whetherEnded(err error) error {
	var patience time.Duration
	if errors.Is(err, unix.ENOMEM) { // fork(2) says so, too, where a PID namespace is about to end: pid_namespaces(7)
		patience = endingBound
	}
	if ended, _ := nsutil.PidfdAwaitEnd(t.live.pidfd, patience); !ended && t.live.running() {
		return err
	}
	return fmt.Errorf("%w: container %s has ended: %w", err, t.ctr.ID.Short(), errdefs.ErrFailedPrecondition)
}

// await waits for the command's end; if ctx ends first, it kills the command.
func await(ctx context.Context, ran keeper.Ran) (int32, error) {
	select {
	case e, ok := <-ran.Exited:
		return execResult(ran, e, ok)
	case <-ctx.Done():
		if err := nsutil.PidfdKillTree(ran.PidFD); err != nil {
			return 0, err
		}
		select {
		case <-ran.Exited:
		case <-time.After(execKill): // the kernel holds it for a file system, or who traces it (ptrace(2))
		}
		return 0, context.Cause(ctx)
	}
}

// errKeeperLost is why an exec's end is not known.
var errKeeperLost = fmt.Errorf("keeper was lost while the command ran: %w", errdefs.ErrUnavailable)

// execResult is a command's exit code. A command whose keeper is lost is killed: the keeper would
// have, and nobody waits for its end any more.
func execResult(ran keeper.Ran, e keeper.Exit, ok bool) (int32, error) {
	if !ok {
		return 0, errors.Join(errKeeperLost, nsutil.PidfdKillTree(ran.PidFD))
	}
	return exitCode(e.Status), nil
}

// capture reads one stream of a command into memory.
type capture struct {
	read  *os.File
	write *os.File
	data  []byte
	wg    sync.WaitGroup
}

func (c *capture) open(o owner) (err error) {
	c.read, c.write, err = openPipe(o, readEnd)
	return err
}

// started is called when the command has its own copy of the write end.
func (c *capture) started() {
	c.write.Close()
	c.wg.Go(func() { // ends with the stream, or by finish
		buf := captureBuffers.Get().(*[32 << 10]byte)
		defer captureBuffers.Put(buf)
		for {
			n, err := c.read.Read(buf[:])
			c.add(buf[:n])
			if errors.Is(err, os.ErrDeadlineExceeded) { // finish's
				c.add(remains(c.read))
			}
			if err != nil {
				return
			}
		}
	})
}

func (c *capture) add(p []byte) {
	c.data = append(c.data, p[:min(len(p), maxExecOutput-len(c.data))]...)
}

// captureBuffers are used again: probes run commands all the time.
var captureBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// finish waits for the streams' ends, for a while.
func finish(streams ...*capture) {
	for _, c := range streams {
		c.read.SetReadDeadline(time.Now().Add(execDrain))
	}
	for _, c := range streams {
		c.wg.Wait()
	}
}

func (c *capture) bytes() []byte { return c.data }

func (c *capture) close() {
	for _, f := range []*os.File{c.read, c.write} {
		if f != nil {
			f.Close()
		}
	}
	c.wg.Wait()
}
