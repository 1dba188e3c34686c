package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/cni"
	"tare/container"
	"tare/crash"
	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/security/seccomp"
	"tare/spec"
	"tare/store"
	"tare/trace"
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
		defer r.locks.Lock(p.ID)()
		return (&launch{Runtime: r}).begin(ctx, p.ID, id)
	})
}

// launch is a container being started.
type launch struct {
	*Runtime
	pod  *store.Pod
	sb   *sandbox.Sandbox
	ctr  *store.Container
	live *process
}

// begin takes a container from created to running, or to exited.
func (l *launch) begin(ctx context.Context, pod spec.PodID, id spec.ContainerID) (err error) {
	l.pod, err = l.Store.Update(pod, func(p *store.Pod) error {
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
	crash.Point("container-start.intent-stored")
	l.ctr = l.pod.Containers[id]
	if l.live = l.processOf(id); l.live == nil {
		l.live = newProcess(id, drivenBy(l.Runtime, l.pod, id))
		l.keepProcess(l.live)
	}
	defer close(l.live.started)
	if err := l.Plugins.StartContainer(ctx, l.pod, l.ctr); err != nil {
		return l.failed(ctx, err)
	}
	started, err := l.run(ctx)
	if err != nil {
		return l.failed(ctx, err)
	}
	crash.Point("container-start.launched")
	l.live.pidfd = started.pidfd
	ctx, step := trace.Start(ctx, "record")
	defer step.End(&err)
	l.pod, err = l.Store.Update(pod, changeContainer(id, func(c *store.Container) (err error) {
		c.Pid, c.StartedAt, c.Namespaces = started.pid, time.Now(), namespacesOf(started.pid, c.OCI)
		c.State, err = c.State.Next(store.ContainerStarted)
		return err
	}))
	if err != nil { // it runs, but nothing would say so
		return errors.Join(err, l.live.signal(unix.SIGKILL))
	}
	l.ctr = l.pod.Containers[id]
	crash.Point("container-start.outcome-stored")
	told(l.Log, l.Plugins.Started(ctx, l.pod, l.ctr))
	if h := l.hooksOf(l.pod, l.ctr); h != nil {
		if err := h.run(ctx, "poststart", l.ctr.OCI.Hooks.Poststart, stage{status: specs.StateRunning, pid: started.pid}); err != nil {
			return errors.Join(err, l.live.signal(unix.SIGKILL))
		}
	}
	return nil
}

// keeperLost says whether an error is there because the keeper went away.
func keeperLost(k *keeper.Client, err error) bool {
	if !errdefs.IsUnavailable(err) {
		return false
	}
	select {
	case <-k.Lost():
		return true
	default:
		return false // something else could not be reached
	}
}

// failed records that the container never ran, and removes what the attempt made. When the keeper went away, nobody knows that:
// recovery, which comes next, finds out whether the container runs, or makes it created again.
func (l *launch) failed(ctx context.Context, cause error) error {
	if keeperLost(l.Keeper, cause) {
		return cause
	}
	return undo(ctx, cause, func(ctx context.Context) error {
		err := errors.Join(removeCgroup(ctx, l.Runtime, l.pod, l.ctr), l.live.closeStdin(ctx, l.Keeper, l.ctr))
		crash.Point("container-start.undone")
		_, uerr := l.Store.Note(l.pod.ID, changeContainer(l.ctr.ID, func(c *store.Container) (err error) {
			c.FinishedAt = time.Now()
			// What a hook said, a program of the image maybe, is not text for certain.
			c.ExitCode, c.Reason, c.Message = exitStartError, reasonStartError, strings.ToValidUTF8(cause.Error(), "\uFFFD")
			c.State, err = c.State.Next(store.ContainerExit)
			return err
		}))
		l.hooksOf(l.pod, l.ctr).poststop(ctx)
		return errors.Join(err, uerr)
	})
}

// started is the outcome of a launch.
type started struct {
	pid   int
	pidfd *os.File
}

// run turns the record into a running process: host side, program, execution.
func (l *launch) run(ctx context.Context) (started, error) {
	var err error
	if l.sb, err = l.sandboxOf(l.pod.ID); err != nil {
		return started{}, err
	}
	c, live := l.ctr, l.live
	sb, release, err := container.Sandbox(c.OCI, l.sb)
	if err != nil {
		return started{}, err
	}
	defer release()
	l.sb = sb
	if err := cni.MoveDevices(l.sb.Namespaces[sandbox.Net], container.Devices(c.OCI)); err != nil {
		return started{}, err
	}
	prepared, err := l.prepare(ctx)
	if err != nil {
		return started{}, err
	}
	defer prepared.Close()
	crash.Point("container-start.volumes-prepared")
	if prepared.Rootfs, err = l.takeRootfs(ctx); err != nil {
		return started{}, err
	}
	crash.Point("container-start.root-taken")
	if live.group, err = l.makeCgroup(ctx); err != nil {
		return started{}, err
	}
	crash.Point("container-start.cgroup-made")
	join, err := joinCgroup(live.group)
	if err != nil {
		return started{}, err
	}
	defer join.Dir.Close()
	join.Shown = live.group.Directories()
	_, step := trace.Start(ctx, "pipes and log")
	io, err := openStdio(l.pod, c)
	step.End(&err)
	if err != nil {
		return started{}, err
	}
	defer io.Close()
	crash.Point("container-start.output-opened")
	if live.driven != nil {
		return l.drive(ctx, prepared, io)
	}
	s := container.Start{
		OCI: c.OCI, Sandbox: l.sb, Prepared: prepared, Mounts: l.bare, Attach: l.attach,
		Cgroup: join, Stdio: io.child, OOMScoreFloor: l.oomFloor,
	}
	if s.PIDNS, err = l.sharedPIDs(ctx); err != nil {
		return started{}, err
	}
	if s.PIDNS != nil && nsutil.ProbeProcPIDNS() == nil {
		if s.SharedPIDs, err = nsutil.PidfdPIDNS(s.PIDNS); err != nil {
			return started{}, err
		}
		defer s.SharedPIDs.Close()
	}
	if s.Seccomp, err = l.filter(c); err != nil {
		return started{}, err
	}
	hooks := l.hooksOf(l.pod, c)
	meeting, err := hooks.prepare()
	if err != nil {
		return started{}, err
	}
	if meeting == nil {
		return l.compileAndExecute(ctx, s, io)
	}
	s.Meeting = meeting.Theirs
	attended := make(chan error, 1)
	go func() { attended <- hooks.attend(ctx, meeting, stage{group: join, sb: l.sb}) }() // ends when the meeting is closed, at the latest
	out, err := l.compileAndExecute(ctx, s, io)
	meeting.Close()
	if herr := <-attended; herr != nil {
		err = herr // the program failed for it
	}
	return out, err
}

func (l *launch) compileAndExecute(ctx context.Context, s container.Start, io *stdio) (_ started, err error) {
	ctx, step := trace.Start(ctx, "program")
	defer step.End(&err)
	if s.Stages, err = stagesOf(ctx); err != nil {
		return started{}, err
	}
	defer s.Stages.Close()
	program, err := container.Compile(s)
	if err != nil {
		return started{}, err
	}
	crash.Point("container-start.compiled")
	begin := time.Now()
	defer func() { tellStages(ctx, s.Stages, begin) }()
	return l.execute(ctx, program, io)
}

// prepare makes what the host contributes.
func (l *launch) prepare(ctx context.Context) (_ *container.Prepared, err error) {
	ctx, step := trace.Start(ctx, "volumes")
	defer step.End(&err)
	return container.Prepare(l.ctr.OCI, l.sb, layersOf(ctx, l.Images))
}

func (l *launch) makeCgroup(ctx context.Context) (_ *cgroup.Group, err error) {
	ctx, step := trace.Start(ctx, "cgroup")
	defer step.End(&err)
	return l.Cgroups.Create(ctx, cgroup.Path(l.ctr.CgroupPath), l.ctr.OCI.Linux.Resources)
}

// takeRootfs is the root assembled at create, or after a restart of the daemon a new one.
func (l *launch) takeRootfs(ctx context.Context) (*os.File, error) {
	if f := l.live.rootfs; f != nil {
		l.live.rootfs = nil
		return f, nil
	}
	lowers, err := layersOf(ctx, l.Images)(l.ctr.Image)
	if err != nil {
		return nil, fmt.Errorf("layers of image %q: %w", l.ctr.ImageName, err)
	}
	layer := l.layers.of(l.pod, l.ctr.ID, l.sb)
	layer.Label = l.ctr.OCI.Linux.MountLabel
	return layer.Mount(lowers)
}

// sharedPIDs finds the process whose PID namespace the container is to share; nil: none.
func (l *launch) sharedPIDs(ctx context.Context) (*os.File, error) {
	ns := l.ctr.Spec.Security.Namespaces
	switch ns.PID {
	case spec.ModeTarget:
		target := l.processOf(ns.Target)
		if target == nil || !target.running() {
			return nil, fmt.Errorf("linux.security_context.namespace_options.target_id: container %q does not run: %w", ns.Target, errdefs.ErrFailedPrecondition)
		}
		return target.pidfd, nil
	case spec.ModePod:
		return l.podInit(ctx)
	}
	return nil, nil
}

// explainExec gives a command that cannot be executed the words people know, and what the
// container's files make impossible its class: these are the image's and the request's.
func explainExec(command, cwd string, err error) error {
	if errors.Is(err, unix.ESRCH) { // setns(2): whose namespaces were to be joined
		return fmt.Errorf("exec %q: the process it joins has ended: %w: %w", command, err, errdefs.ErrFailedPrecondition)
	}
	oe, ok := errors.AsType[*nsutil.OpError](err)
	if !ok {
		return err
	}
	switch {
	case oe.Name == nsutil.OpJoinCgroup && (oe.Errno == unix.ENOENT || oe.Errno == unix.ENODEV):
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == "execve" && (oe.Errno == unix.ENOENT || oe.Errno == unix.ENOTDIR):
		return fmt.Errorf("exec %q: executable file not found in the container: %w: %w", command, err, errdefs.ErrInvalidArgument)
	case oe.Name == "execve" && (oe.Errno == unix.EACCES || oe.Errno == unix.ENOEXEC):
		return fmt.Errorf("exec %q: not executable: %w: %w", command, err, errdefs.ErrInvalidArgument)
	case oe.Name == "execve" && oe.Errno == unix.E2BIG:
		return fmt.Errorf("exec %q: command, arguments and variables are more than the kernel takes: %w: %w", command, err, errdefs.ErrInvalidArgument)
	case oe.Name == nsutil.OpSetLabel: // a profile that was unloaded since the create
		return fmt.Errorf("linux.security_context: %w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == nsutil.OpMemoryPolicy: // nodes that there are none of, or that the cpuset leaves out
		return fmt.Errorf("memory_policy: %w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == nsutil.OpSysctl: // which the kernel does not have, or not with this value
		return fmt.Errorf("sysctl: %w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == nsutil.OpScheduler: // what the cgroup or the processors have no room for
		return fmt.Errorf("scheduler: %w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == nsutil.OpLimit && oe.Errno == unix.EPERM: // above this daemon's own, prlimit(2)
		return fmt.Errorf("rlimit: %w: %w", err, errdefs.ErrFailedPrecondition)
	case oe.Name == "chdir" && oe.Detail == cwd:
		return fmt.Errorf("working_dir: %w: %w", err, errdefs.ErrInvalidArgument)
	case slices.Contains([]unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EROFS, unix.ENAMETOOLONG}, oe.Errno):
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

// filter is the container's seccomp filter, nil if it has none. A plugin's policy is in the place of the request's profile.
func (r *Runtime) filter(c *store.Container) (*seccomp.Filter, error) {
	if p := c.OCI.Linux.Seccomp; p != nil {
		return r.filters.Compile(p)
	}
	return r.filters.Filter(&c.Spec.Security, c.OCI.Process.Capabilities.Bounding)
}

// execute runs the program in the keeper's custody.
func (l *launch) execute(ctx context.Context, program *nsutil.Program, io *stdio) (started, error) {
	c, live := l.ctr, l.live
	io.run.Key, io.run.Program = string(c.ID), program
	if io.stdin != nil { // in custody before anybody reads it: it cannot be lost
		if err := live.keepStdin(ctx, l.Keeper, io.takeStdin()); err != nil {
			return started{}, err
		}
		crash.Point("container-start.stdin-kept")
	}
	ran, err := l.Keeper.Run(ctx, io.run)
	if err != nil {
		return started{}, explainExec(c.OCI.Process.Args[0], c.OCI.Process.Cwd, err)
	}
	live.output = io.keep(ran.Given)
	if err := live.keepConsole(ctx, l.Keeper, c); err != nil {
		l.Log.Error("keep the console as stdin", slog.String("container", string(c.ID)), slog.Any("err", err))
	}
	return started{ran.Pid, ran.PidFD}, nil
}

// joinCgroup is how a child enters the group. The caller closes its Dir, which may be nil.
func joinCgroup(g *cgroup.Group) (container.Cgroup, error) {
	dir, err := g.Dir()
	return container.Cgroup{Procs: g.Join(), Dir: dir}, err
}

// loadCgroup returns the container's cgroup, nil if there is none.
func loadCgroup(tree *cgroup.Tree, c *store.Container) (*cgroup.Group, error) {
	g, err := tree.Load(cgroup.Path(c.CgroupPath))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return g, err
}

// namespacesOf are the inodes of the namespaces that are a container's own, by its first process. One that
// has ended already is in none.
func namespacesOf(pid int, oci *specs.Spec) map[string]uint64 {
	out := map[string]uint64{}
	for _, ns := range oci.Linux.Namespaces {
		kind := cmp.Or(procKinds[ns.Type], string(ns.Type))
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), &st) == nil {
			out[kind] = st.Ino
		}
	}
	return out
}

// procKinds are the kinds of namespaces that /proc/PID/ns has by other names than the specification.
var procKinds = map[specs.LinuxNamespaceType]string{specs.MountNamespace: "mnt", specs.NetworkNamespace: "net"}
