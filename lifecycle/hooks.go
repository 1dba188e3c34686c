package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/container"
	"tare/keeper"
	"tare/nsutil"
	"tare/sandbox"
	"tare/store"
)

// hookLimit is how long a hook may take that has no timeout of its own: what a kubelet waits for a start.
const hookLimit = 2 * time.Minute

// hooks runs the hooks of one container (runtime-spec config.md, "POSIX-platform Hooks").
type hooks struct {
	*Runtime
	ctr   *store.Container
	owner owner // of the pipes for what hooks say
	group int   // the container's root's, on the host
}

// hooksOf are those of a container, nil if it has none, or an OCI runtime runs them.
func (r *Runtime) hooksOf(p *store.Pod, c *store.Container) *hooks {
	if c.OCI == nil || c.OCI.Hooks == nil || r.drivers.of(p) != nil {
		return nil
	}
	_, gid := container.RootOwner(&p.Spec)
	return &hooks{r, c, hostUser(p, c), int(gid)}
}

// writeBundle writes the specification, with the path where the program attaches the root on the way. Both are
// below directories that the container's root may walk: in a user namespace a hook is nobody else.
func (h *hooks) writeBundle() error {
	oci := *h.ctr.OCI
	root := *oci.Root
	root.Path = h.attach
	oci.Root = &root
	data, err := json.Marshal(&oci)
	if err != nil {
		return err
	}
	return h.bundles.write(h.ctr.ID, h.group, data)
}

// stage is where the hooks of a list run, and what they are told.
type stage struct {
	status specs.ContainerState
	pid    int              // of the container, for the runtime; 0: none
	inside *os.File         // pidfd of the process in whose namespaces; nil: the runtime's
	group  container.Cgroup // with inside
	sb     *sandbox.Sandbox // with inside
}

// prepare makes ready for the hooks that run while the program waits; nil if there are none.
func (h *hooks) prepare() (*nsutil.Rendezvous, error) {
	if h == nil {
		return nil, nil
	}
	if err := h.writeBundle(); err != nil {
		return nil, err
	}
	if !container.HooksBeforeRoot(h.ctr.OCI) && !container.HooksInRoot(h.ctr.OCI) {
		return nil, nil
	}
	return nsutil.NewRendezvous()
}

// attend runs the hooks at the program's meetings. If one fails, it ends the program. A program that ends by
// itself does not come, and the rendezvous is closed.
func (h *hooks) attend(ctx context.Context, at *nsutil.Rendezvous, in stage) error {
	err := h.meetings(ctx, at, in)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		at.Refuse()
	}
	return err
}

func (h *hooks) meetings(ctx context.Context, at *nsutil.Rendezvous, in stage) error {
	list := h.ctr.OCI.Hooks
	if container.HooksBeforeRoot(h.ctr.OCI) {
		err := h.meeting(at, func(pid int, pidfd *os.File) error {
			runtime := stage{status: specs.StateCreating, pid: pid}
			inside := in
			inside.status, inside.pid, inside.inside = specs.StateCreating, pid, pidfd
			return firstError(
				func() error { return h.run(ctx, "prestart", list.Prestart, runtime) }, //lint:ignore SA1019 deprecated, but still in use
				func() error { return h.run(ctx, "createRuntime", list.CreateRuntime, runtime) },
				func() error { return h.run(ctx, "createContainer", list.CreateContainer, inside) },
			)
		})
		if err != nil {
			return err
		}
	}
	if !container.HooksInRoot(h.ctr.OCI) {
		return nil
	}
	return h.meeting(at, func(pid int, pidfd *os.File) error {
		in.status, in.pid, in.inside = specs.StateCreated, pid, pidfd
		return h.run(ctx, "startContainer", list.StartContainer, in)
	})
}

// meeting waits for the program and lets it go on after work.
func (h *hooks) meeting(at *nsutil.Rendezvous, work func(pid int, pidfd *os.File) error) error {
	pid, pidfd, err := at.Wait()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := work(pid, pidfd); err != nil {
		return err
	}
	return at.GoOn()
}

// run runs hooks one after the other, until one fails.
func (h *hooks) run(ctx context.Context, name string, list []specs.Hook, s stage) error {
	for _, hook := range list {
		if err := h.runOne(ctx, hook, s); err != nil {
			return fmt.Errorf("hook %s %s: %w", name, hook.Path, err)
		}
	}
	return nil
}

// poststop tells the hooks that the container is gone; that they fail changes nothing any more.
func (h *hooks) poststop(ctx context.Context) {
	if h == nil {
		return
	}
	for _, hook := range h.ctr.OCI.Hooks.Poststop {
		if err := h.run(ctx, "poststop", []specs.Hook{hook}, stage{status: specs.StateStopped}); err != nil {
			h.Log.Warn("run hook", slog.String("container", string(h.ctr.ID)), slog.Any("err", err))
		}
	}
}

func (h *hooks) runOne(ctx context.Context, hook specs.Hook, s stage) error {
	limit := hookLimit
	if hook.Timeout != nil {
		limit = time.Duration(*hook.Timeout) * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errExecTimeout(limit))
	defer cancel()
	state, err := h.state(s)
	if err != nil {
		return err
	}
	var said capture
	defer said.close()
	if err := said.open(h.owner); err != nil {
		return err
	}
	stdin, err := filled(state)
	if err != nil {
		return err
	}
	defer stdin.Close()
	program := container.Hook(container.HookRun{
		Hook: hook, Sandbox: s.sb, PidFD: s.inside, Cgroup: s.group, OOMScoreFloor: h.oomFloor,
		Stdio: [3]*os.File{stdin, said.write, said.write},
	})
	key := fmt.Sprintf("hook/%s/%d", h.ctr.ID, h.execs.Add(1))
	ran, err := h.Keeper.Run(ctx, keeper.Run{Key: key, Program: program, Tether: true})
	said.started()
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	defer ran.PidFD.Close()
	code, err := await(ctx, ran)
	finish(&said)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s: %w", code, lastLine(said.bytes()), errdefs.ErrFailedPrecondition)
	}
	return err
}

// state is what a hook reads from its standard input (runtime-spec runtime.md, "State").
func (h *hooks) state(s stage) ([]byte, error) {
	out := specs.State{
		Version: specs.Version, ID: string(h.ctr.ID), Status: s.status, Pid: s.pid,
		Bundle: h.bundles.dir(h.ctr.ID), Annotations: h.ctr.OCI.Annotations,
	}
	if s.inside != nil {
		pid, err := pidInside(s.pid)
		if err != nil {
			return nil, err
		}
		out.Pid = pid
	}
	return json.Marshal(out)
}

// filled is a file in memory that a process reads from its beginning.
func filled(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	_, err = f.Write(content)
	if _, serr := f.Seek(0, io.SeekStart); err != nil || serr != nil {
		f.Close()
		return nil, errors.Join(err, serr)
	}
	return f, nil
}

// pidInside is a process's number in its own PID namespace, proc_pid_status(5), NSpid.
func pidInside(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(numbers)
			return strconv.Atoi(all[len(all)-1])
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no NSpid", pid)
}

// lastLine is the end of what a hook said, for an error.
func lastLine(said []byte) string {
	lines := bytes.Split(bytes.TrimSpace(said), []byte("\n"))
	return cmp.Or(string(lines[len(lines)-1]), "it said nothing")
}

// firstError runs steps until one fails.
func firstError(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}
