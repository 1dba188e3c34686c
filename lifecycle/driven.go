package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/container"
	"tare/crash"
	"tare/keeper"
	"tare/nsutil"
	"tare/oci"
	"tare/security/seccomp"
	"tare/spec"
	"tare/store"
	"tare/trace"
)

// drive has the OCI runtime create the container and start it. In between the keeper adopts the process, which the
// runtime leaves to it: its end cannot be missed.
func (l *launch) drive(ctx context.Context, prepared *container.Prepared, io *stdio) (_ started, err error) {
	ctx, step := trace.Start(ctx, "OCI runtime")
	defer step.End(&err)
	rt := l.live.driven
	if err := rt.Check(); err != nil {
		return started{}, err
	}
	b := container.Bundle{Dir: rt.Bundle, OCI: l.ctr.OCI, Sandbox: l.sb, Prepared: prepared, OOMScoreFloor: l.oomFloor}
	if b.PIDNS, err = l.sharedPIDs(ctx); err != nil {
		return started{}, err
	}
	if b.Seccomp = l.ctr.OCI.Linux.Seccomp; b.Seccomp == nil {
		if b.Seccomp, err = seccomp.Profile(&l.ctr.Spec.Security, l.ctr.OCI.Process.Capabilities.Bounding); err != nil {
			return started{}, err
		}
	}
	config, err := b.Spec()
	if err != nil {
		return started{}, err
	}
	if err := rt.Write(config); err != nil {
		return started{}, err
	}
	if err := l.Cgroups.Expect(cgroup.Path(l.ctr.CgroupPath)); err != nil {
		return started{}, err
	}
	crash.Point("container-start.bundle-written")
	if err := l.createDriven(ctx, &b, io); err != nil {
		return started{}, err
	}
	crash.Point("container-start.runtime-created")
	return l.startDriven(ctx, io)
}

// createDriven runs the create, after which the process waits. Of a terminal, io has the master then.
func (l *launch) createDriven(ctx context.Context, b *container.Bundle, io *stdio) error {
	ctx, cancel := l.live.driven.Bounded(ctx, "create")
	defer cancel()
	stdio, said := io.child, capture{}
	defer said.close()
	if !io.run.Console {
		return l.runCreate(ctx, b, stdio, func() []byte { return pending(io.run.Stderr) })
	}
	console, err := l.live.driven.Listen()
	if err != nil {
		return err
	}
	defer console.Close()
	received := make(chan error, 1)
	go func() { // ends with the console, at the latest
		var err error
		io.console, err = console.Receive()
		received <- err
	}()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if err := said.open(owner{}); err != nil {
		return err
	}
	stdio = [3]*os.File{null, null, said.write}
	err = l.runCreate(ctx, b, stdio, func() []byte { said.started(); finish(&said); return said.bytes() })
	if err != nil {
		console.Close()
		<-received
		nsutil.CloseAll([]*os.File{io.console})
		return err
	}
	console.Ended()
	if err := <-received; err != nil {
		return fmt.Errorf("runtime handler %s: %s create: %w: %w", l.live.driven.Name, l.live.driven.Binary, err, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// runCreate runs the create to its end; heard is what it said if that was a failure.
func (l *launch) runCreate(ctx context.Context, b *container.Bundle, stdio [3]*os.File, heard func() []byte) error {
	rt := l.live.driven
	ran, err := runHost(ctx, l.Runtime, rt, b.Program(rt.Create(l.ctr.OCI.Process.Terminal), stdio))
	if err != nil {
		return err
	}
	defer ran.PidFD.Close()
	code, err := await(ctx, ran)
	if err == nil && code != 0 {
		err = rt.Failed(code, heard())
	}
	return err
}

// runHost has the keeper run a program of an OCI runtime's, which ends with this daemon.
func runHost(ctx context.Context, r *Runtime, rt *oci.Container, p *nsutil.Program) (keeper.Ran, error) {
	key := fmt.Sprintf("oci/%s/%d", rt.ID, r.execs.Add(1))
	ran, err := r.Keeper.Run(ctx, keeper.Run{Key: key, Program: p, Tether: true})
	if err != nil {
		return keeper.Ran{}, fmt.Errorf("runtime handler %s: %w", rt.Name, err)
	}
	return ran, nil
}

// pending is what is in a pipe now.
func pending(pipe *os.File) []byte {
	var out bytes.Buffer
	f, err := nsutil.DuplicateNonblock(pipe)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, 64<<10) // what a pipe holds, pipe(7)
	n, _ := unix.Read(int(f.Fd()), buf)
	out.Write(buf[:max(n, 0)])
	return out.Bytes()
}

// startDriven gives the process into custody and has it execute the command.
func (l *launch) startDriven(ctx context.Context, io *stdio) (_ started, err error) {
	rt, live := l.live.driven, l.live
	pid, err := rt.Pid()
	if err != nil {
		return started{}, err
	}
	pidfd, err := nsutil.PidfdOpen(pid)
	if err != nil {
		return started{}, err
	}
	var given []*os.File
	if io.console != nil {
		given = []*os.File{io.console}
	}
	live.output = io.keep(given)
	held := live.output
	held.PidFD, held.Log = pidfd, io.run.Log
	if err := l.Keeper.Adopt(ctx, string(l.ctr.ID), pid, held); err != nil {
		pidfd.Close()
		return started{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.disown(context.WithoutCancel(ctx), pidfd))
		}
	}()
	crash.Point("container-start.runtime-adopted")
	if io.stdin != nil {
		if err := live.keepStdin(ctx, l.Keeper, io.takeStdin()); err != nil {
			return started{}, err
		}
	}
	if err := live.keepConsole(ctx, l.Keeper, l.ctr); err != nil {
		return started{}, err
	}
	if err := rt.Start(ctx); err != nil {
		return started{}, err
	}
	return started{pid, pidfd}, nil
}

// disown ends a process that was to be started: its end is not a container's.
func (l *launch) disown(ctx context.Context, pidfd *os.File) error {
	l.live.once.Do(func() {})
	defer pidfd.Close()
	if err := nsutil.PidfdSignal(pidfd, unix.SIGKILL); err != nil {
		return err
	}
	return forget(ctx, l.Keeper, string(l.ctr.ID))
}

// undoCreated makes a container created again, whose start stopped between the OCI runtime's create and its start.
func (r *recovery) undoCreated(ctx context.Context, p *store.Pod, c *store.Container, live *process) error {
	live.once.Do(func() {})
	if err := r.undoStart(ctx, p, c); err != nil { // ends it
		return err
	}
	return errors.Join(live.closeStdin(ctx, r.Keeper, c), forget(ctx, r.Keeper, string(c.ID)))
}

// forget ends the custody of a process that was killed, when its end is known there.
func forget(ctx context.Context, k *keeper.Client, key string) error {
	for deadline := time.Now().Add(killTimeout); ; time.Sleep(launchPause) {
		err := k.Forget(ctx, key)
		if !errdefs.IsFailedPrecondition(err) || time.Now().After(deadline) {
			return err
		}
	}
}

// enterDriven has the OCI runtime run a command in the container.
func (t *target) enterDriven(ctx context.Context, cmd []string, stdio [3]*os.File) (keeper.Ran, error) {
	p := *t.ctr.OCI.Process
	p.Args, p.Terminal = cmd, stdio[0] == nil
	if p.OOMScoreAdj != nil {
		adj := max(*p.OOMScoreAdj, t.oomFloor)
		p.OOMScoreAdj = &adj
	}
	rt := t.live.driven
	if err := rt.Check(); err != nil {
		return keeper.Ran{}, err
	}
	var err error
	if t.command, err = rt.Exec(&p, t.execs.Add(1)); err != nil {
		return keeper.Ran{}, err
	}
	return runHost(ctx, t.Runtime, rt, container.BundleCommand(rt.Bundle, t.command.Args, stdio))
}

// verdict is a command's exit code, or what an OCI runtime failed by.
func (t *target) verdict(code int32, err error) (int32, error) {
	if t.command == nil || err != nil || code == 0 {
		return code, err
	}
	return code, t.command.Err()
}

// done ends what an exec has made.
func (t *target) done() {
	if t.command != nil {
		t.command.Close()
	}
}

// sendTimeout is how long an OCI runtime may take to send a signal: a stop waits for that.
const sendTimeout = 10 * time.Second

// sendDriven sends a signal by the OCI runtime, or, should it fail, by ourselves.
func (p *process) sendDriven(sig unix.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := p.driven.Kill(ctx, sig)
	if err == nil {
		return nil
	}
	if ended, eerr := nsutil.PidfdEnded(p.pidfd); eerr == nil && ended {
		return nil
	}
	p.driven.Log.Warn("signal a container without its runtime", slog.String("container", string(p.id)), slog.Any("err", err))
	return nsutil.PidfdSignal(p.pidfd, sig)
}

// updateDriven tells the OCI runtime of limits, which are in force already: it may keep them elsewhere, too.
func (p *process) updateDriven(ctx context.Context, limits *spec.Resources) error {
	if p.driven == nil {
		return nil
	}
	res := container.Limits(limits)
	return p.driven.Update(ctx, &specs.LinuxResources{CPU: res.CPU, Memory: res.Memory})
}
