package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"tare/container"
	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
)

const (
	// maxExecOutput is how much of each stream of an ExecSync is kept, 16 MiB as CRI demands;
	// the rest is read and dropped, so that the process is not held up.
	maxExecOutput = 16 << 20
	// execDrain is how long output is waited for after the process has ended: another process
	// may hold the pipe for ever.
	execDrain = 250 * time.Millisecond
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
	stdin, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return spec.ExecResult{}, err
	}
	defer stdin.Close()
	if err := errors.Join(out.open(hostUser(t.pod, t.ctr)), errOut.open(hostUser(t.pod, t.ctr))); err != nil {
		return spec.ExecResult{}, err
	}
	ran, err := t.enter(ctx, cmd, [3]*os.File{stdin, out.write, errOut.write})
	out.started()
	errOut.started()
	if err != nil {
		return spec.ExecResult{}, err
	}
	defer ran.PidFD.Close()
	code, err := await(ctx, ran)
	out.finish()
	errOut.finish()
	if err != nil {
		return spec.ExecResult{}, err
	}
	return spec.ExecResult{Stdout: out.bytes(), Stderr: errOut.bytes(), ExitCode: code}, nil
}

// enter launches a command in the container.
func (t *target) enter(ctx context.Context, cmd []string, stdio [3]*os.File) (keeper.Ran, error) {
	sb, err := t.sandboxOf(t.pod.ID)
	if err != nil {
		return keeper.Ran{}, err
	}
	join, err := joinCgroup(t.live.group)
	if err != nil {
		return keeper.Ran{}, err
	}
	defer join.Close()
	filter, err := t.filter(t.ctr)
	if err != nil {
		return keeper.Ran{}, err
	}
	program, err := container.Enter(container.Entry{
		OCI: t.ctr.OCI, Sandbox: sb, PidFD: t.live.pidfd, Cgroup: join.Cgroup, Args: cmd, Stdio: stdio,
		Seccomp: filter, OOMScoreFloor: t.oomFloor,
	})
	if err != nil {
		return keeper.Ran{}, err
	}
	key := fmt.Sprintf("exec/%s/%d", t.ctr.ID, t.execs.Add(1))
	ran, err := t.Keeper.Run(ctx, keeper.Run{Key: key, Program: program, Tether: true})
	if err != nil {
		return keeper.Ran{}, explainExec(cmd[0], t.ctr.OCI.Process.Cwd, err)
	}
	return ran, nil
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
		<-ran.Exited
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
	r, w, err := blockingPipe(o)
	if err != nil {
		return err
	}
	c.write = w
	c.read, err = pollable(r)
	return err
}

// pollable makes a file one whose reads can be given deadlines.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	return nsutil.DuplicateNonblock(f)
}

// started is called when the command has its own copy of the write end.
func (c *capture) started() {
	c.write.Close()
	c.wg.Go(func() { // ends with the stream, or by finish
		buf := captureBuffers.Get().(*[32 << 10]byte)
		defer captureBuffers.Put(buf)
		for {
			n, err := c.read.Read(buf[:])
			c.data = append(c.data, buf[:min(n, maxExecOutput-len(c.data))]...)
			if err != nil {
				return // the end, or finish's deadline
			}
		}
	})
}

// captureBuffers are used again: probes run commands all the time.
var captureBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// finish waits for the stream's end, for a while.
func (c *capture) finish() {
	c.read.SetReadDeadline(time.Now().Add(execDrain))
	c.wg.Wait()
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
