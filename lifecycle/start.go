package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/container"
	"tare/nsutil"
	"tare/sandbox"
	"tare/security/seccomp"
	"tare/spec"
	"tare/store"
)

// How a container that could not be started is reported; the numbers and words are what
// clients of other runtimes know.
const (
	reasonStartError = "StartError"
	exitStartError   = 128
)

// StartContainer executes a created container's command. A container whose start failed counts
// as exited, with the reason StartError.
func (r *Runtime) StartContainer(ctx context.Context, id spec.ContainerID) error {
	p, _, err := r.Store.Container(id)
	if err != nil {
		return err
	}
	return r.order(ctx, "start container "+string(id), func(ctx context.Context) error {
		defer r.locks.lock(p.ID)()
		return r.startContainer(ctx, p.ID, id)
	})
}

func (r *Runtime) startContainer(ctx context.Context, pod spec.PodID, id spec.ContainerID) error {
	p, err := r.Store.Update(pod, func(p *store.Pod) error {
		if p.State != store.PodReady {
			return fmt.Errorf("pod %s is %s: %w", pod.Short(), p.State, errNotReady)
		}
		return changeContainer(id, func(c *store.Container) (err error) {
			c.State, err = c.State.Next(store.ContainerStart)
			return err
		})(p)
	})
	if err != nil {
		return err
	}
	live := r.processOf(id)
	if live == nil {
		live = newProcess(id)
		r.keepProcess(live)
	}
	defer close(live.started)
	started, err := r.launch(ctx, p, p.Containers[id], live)
	if err != nil {
		return r.startFailed(ctx, p, id, err)
	}
	live.pidfd = started.pidfd
	_, err = r.Store.Update(pod, changeContainer(id, func(c *store.Container) (err error) {
		c.Pid, c.StartedAt, c.Namespaces = started.pid, time.Now(), namespacesOf(started.pid)
		c.State, err = c.State.Next(store.ContainerStarted)
		return err
	}))
	if err != nil { // it runs, but nothing would say so
		return errors.Join(err, live.signal(unix.SIGKILL))
	}
	return nil
}

// startFailed records that the container never ran, and removes what the attempt made.
func (r *Runtime) startFailed(ctx context.Context, p *store.Pod, id spec.ContainerID, cause error) error {
	return r.undo(ctx, cause, func(ctx context.Context) error {
		err := errors.Join(r.removeCgroup(ctx, p.Containers[id]), r.closeStdin(ctx, p.Containers[id]))
		_, uerr := r.Store.Update(p.ID, changeContainer(id, func(c *store.Container) (err error) {
			c.FinishedAt = time.Now()
			c.ExitCode, c.Reason, c.Message = exitStartError, reasonStartError, cause.Error()
			c.State, err = c.State.Next(store.ContainerExit)
			return err
		}))
		return errors.Join(err, uerr)
	})
}

// started is the outcome of a launch.
type started struct {
	pid   int
	pidfd *os.File
}

// launch turns the record into a running process: host side, program, run.
func (r *Runtime) launch(ctx context.Context, p *store.Pod, c *store.Container, live *process) (started, error) {
	sb, err := r.sandboxOf(p.ID)
	if err != nil {
		return started{}, err
	}
	prepared, err := container.Prepare(c.OCI, sb, r.layersOf(ctx))
	if err != nil {
		return started{}, err
	}
	defer prepared.Close()
	if prepared.Rootfs, err = r.takeRootfs(ctx, p, c, live, sb); err != nil {
		return started{}, err
	}
	live.group, err = r.Cgroups.Create(ctx, cgroup.Path(c.CgroupPath), c.OCI.Linux.Resources)
	if err != nil {
		return started{}, err
	}
	join, err := joinCgroup(live.group)
	if err != nil {
		return started{}, err
	}
	defer join.Close()
	io, err := openStdio(p, c)
	if err != nil {
		return started{}, err
	}
	defer io.Close()
	s := container.Start{
		OCI: c.OCI, Sandbox: sb, Prepared: prepared, Attach: r.attach,
		Cgroup: join.Cgroup, Stdio: io.child, OOMScoreFloor: r.oomFloor,
	}
	if s.PIDNS, err = r.sharedPIDs(ctx, c, sb); err != nil {
		return started{}, err
	}
	if s.Seccomp, err = r.filter(c); err != nil {
		return started{}, err
	}
	program, err := container.Compile(s)
	if err != nil {
		return started{}, err
	}
	return r.execute(ctx, c, live, program, io)
}

// takeRootfs is the root assembled at create, or after a restart of the daemon a new one.
func (r *Runtime) takeRootfs(ctx context.Context, p *store.Pod, c *store.Container, live *process, sb *sandbox.Sandbox) (*os.File, error) {
	if f := live.rootfs; f != nil {
		live.rootfs = nil
		return f, nil
	}
	lowers, err := r.layersOf(ctx)(c.Image)
	if err != nil {
		return nil, fmt.Errorf("layers of image %q: %w", c.ImageName, err)
	}
	return r.layer(p, c.ID, sb).Mount(lowers)
}

// sharedPIDs finds the process whose PID namespace the container is to share; nil: none.
func (r *Runtime) sharedPIDs(ctx context.Context, c *store.Container, sb *sandbox.Sandbox) (*os.File, error) {
	ns := c.Spec.Security.Namespaces
	switch ns.PID {
	case spec.ModeTarget:
		target := r.processOf(ns.Target)
		if target == nil || !target.running() {
			return nil, fmt.Errorf("namespace_options.target_id: container %q does not run: %w", ns.Target, errdefs.ErrFailedPrecondition)
		}
		return target.pidfd, nil
	case spec.ModePod:
		return r.podInit(ctx, sb)
	}
	return nil, nil
}

// explainExec gives a command that cannot be executed the words people know, and what the
// container's files make impossible its class: these are the image's and the request's.
func explainExec(command string, err error) error {
	oe, ok := errors.AsType[*nsutil.OpError](err)
	if !ok {
		return err
	}
	switch {
	case oe.Name == "execve" && (oe.Errno == unix.ENOENT || oe.Errno == unix.ENOTDIR):
		return fmt.Errorf("exec %q: executable file not found in the container: %w: %w", command, err, errdefs.ErrInvalidArgument)
	case oe.Name == "execve" && (oe.Errno == unix.EACCES || oe.Errno == unix.ENOEXEC):
		return fmt.Errorf("exec %q: not executable: %w: %w", command, err, errdefs.ErrInvalidArgument)
	case oe.Name == "chdir":
		return fmt.Errorf("working_dir: %w: %w", err, errdefs.ErrInvalidArgument)
	case oe.Errno == unix.ENOENT || oe.Errno == unix.ENOTDIR || oe.Errno == unix.ELOOP:
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

// filter is the container's seccomp filter, nil if it has none.
func (r *Runtime) filter(c *store.Container) (*seccomp.Filter, error) {
	return r.filters.Filter(&c.Spec.Security, c.OCI.Process.Capabilities.Bounding)
}

// execute runs the program in the keeper's custody.
func (r *Runtime) execute(ctx context.Context, c *store.Container, live *process, program *nsutil.Program, io *stdio) (started, error) {
	io.run.Key, io.run.Program = string(c.ID), program
	if io.stdin != nil { // in custody before anybody reads it: it cannot be lost
		if err := r.keepStdin(ctx, live, io.takeStdin()); err != nil {
			return started{}, err
		}
	}
	ran, err := r.Keeper.Run(ctx, io.run)
	if err != nil {
		return started{}, explainExec(c.OCI.Process.Args[0], err)
	}
	live.output = io.keep(ran.Given)
	if err := r.keepConsole(ctx, c, live); err != nil {
		r.Log.Error("keep the console as stdin", slog.String("container", string(c.ID)), slog.Any("err", err))
	}
	return started{ran.Pid, ran.PidFD}, nil
}

// joinCgroup opens what a child needs to enter the group.
func joinCgroup(g *cgroup.Group) (cgroupFiles, error) {
	procs, err := g.Join()
	if err != nil {
		return cgroupFiles{}, err
	}
	files := cgroupFiles{container.Cgroup{Procs: procs}}
	if files.Dir, err = g.Dir(); err != nil {
		files.Close()
		return cgroupFiles{}, err
	}
	return files, nil
}

// loadCgroup returns the container's cgroup, nil if there is none.
func (r *Runtime) loadCgroup(c *store.Container) (*cgroup.Group, error) {
	g, err := r.Cgroups.Load(cgroup.Path(c.CgroupPath))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return g, err
}

// namespacesOf are the inodes of a process's own namespaces. A process that has ended already has none.
func namespacesOf(pid int) map[string]uint64 {
	out := map[string]uint64{}
	for _, kind := range []string{"pid", "mnt", "cgroup"} {
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), &st) == nil {
			out[kind] = st.Ino
		}
	}
	return out
}
