// Package oci drives OCI runtimes, programs such as runc and crun: command lines, which the OCI runtimes agree on
// (runc(8)), and what they answer and log. It runs those commands that end at once; a container's create and exec
// are run by whoever is to be the parent.
package oci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// limit is how long a command may take if nothing else is said: the hooks of a start included, what a kubelet waits for one.
const limit = 2 * time.Minute

// Runtime is an OCI runtime of this host.
type Runtime struct {
	Name   string   // of the handler
	Binary string   // path of the program
	Root   string   // where it keeps its state
	Args   []string // before the command
	// Timeout is how long a command may take that is not an exec; 0: two minutes.
	Timeout time.Duration
	Log     *slog.Logger
}

// Bounded is a context for one command, which ends with the command's error when its time is up.
func (r *Runtime) Bounded(ctx context.Context, verb string) (context.Context, context.CancelFunc) {
	bound := cmp.Or(r.Timeout, limit)
	return context.WithTimeoutCause(ctx, bound, r.failed(verb, fmt.Sprintf("it did not end within %s and was killed", bound)))
}

// Container is a container of an OCI runtime. Its bundle is a directory of the host.
type Container struct {
	*Runtime
	ID     string
	Bundle string
}

// Names of the files in a bundle.
const (
	configFile  = "config.json"
	pidFile     = "pid"
	consoleFile = "console"
	logFile     = "log"
)

// Write writes the specification into the bundle.
func (c *Container) Write(oci *specs.Spec) error {
	if err := os.MkdirAll(c.Bundle, 0o700); err != nil {
		return err
	}
	return c.write(configFile, oci)
}

func (c *Container) write(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Bundle, name), data, 0o600)
}

// command is a command line. What goes wrong is logged into a file of the bundle.
func (r *Runtime) command(logPath, verb string, args ...string) []string {
	out := append([]string{r.Binary, "--root", r.Root, "--log", logPath, "--log-format", "json"}, r.Args...)
	return slices.Concat(out, []string{verb}, args)
}

// Create is the command that makes the container, with its stdio, or with a terminal's master sent to Console. It
// is run in the bundle. Pid tells of the process afterwards.
func (c *Container) Create(terminal bool) []string {
	args := []string{"--bundle", c.Bundle, "--pid-file", c.path(pidFile)}
	if terminal {
		args = append(args, "--console-socket", consoleFile)
	}
	return c.command(c.path(logFile), "create", append(args, c.ID)...)
}

func (c *Container) path(name string) string { return filepath.Join(c.Bundle, name) }

// Pid is the container's first process.
func (c *Container) Pid() (pid int, err error) {
	data, err := os.ReadFile(c.path(pidFile))
	if err == nil {
		err = json.Unmarshal(data, &pid)
	}
	if err == nil && pid <= 1 {
		err = fmt.Errorf("%d is no process of a container", pid)
	}
	if err != nil {
		return 0, fmt.Errorf("runtime handler %s: %s create: pid file: %w: %w", c.Name, c.Binary, err, errdefs.ErrFailedPrecondition)
	}
	return pid, nil
}

// Command is one that is run by somebody else, in the bundle.
type Command struct {
	*Container
	Args []string
	verb string
	name string // of its files
}

// Exec makes ready a command in the running container. Close it when the command has ended.
func (c *Container) Exec(p *specs.Process, number uint64) (*Command, error) {
	x := &Command{Container: c, verb: "exec", name: fmt.Sprintf("exec-%d", number)}
	if err := c.write(x.name, p); err != nil {
		return nil, err
	}
	args := []string{"--process", c.path(x.name)}
	if p.Terminal {
		args = append(args, "--tty")
	}
	x.Args = c.command(x.logPath(), x.verb, append(args, c.ID)...)
	return x, nil
}

func (x *Command) logPath() string { return x.path(x.name + ".log") }

// Err is what the runtime itself failed by; nil if it did not, and the exit code is the command's.
func (x *Command) Err() error {
	msg := lastError(x.logPath())
	if msg == "" {
		return nil
	}
	return x.failed(x.verb, msg)
}

// Close removes the command's files.
func (x *Command) Close() {
	os.Remove(x.path(x.name))
	os.Remove(x.logPath())
}

// Failed is the error of a create that ended with an exit code: by the log, else by what it said.
func (c *Container) Failed(code int32, said []byte) error {
	msg := lastError(c.path(logFile))
	if msg == "" {
		msg = lastLine(said)
	}
	if msg == "" {
		msg = "it said nothing"
	}
	return c.failed("create", fmt.Sprintf("exit code %d: %s", code, msg))
}

// Start executes the command of a container that was created.
func (c *Container) Start(ctx context.Context) error {
	return c.run(ctx, nil, "start", c.ID)
}

// Kill sends a signal to the first process.
func (c *Container) Kill(ctx context.Context, sig unix.Signal) error {
	return c.run(ctx, nil, "kill", c.ID, fmt.Sprint(int(sig)))
}

// Delete ends and removes the container. One that is not there, is removed. So is one whose runtime is not there any more, as far
// as files go: its state, which OCI runtimes keep by the container's name. Preconditions: its processes have ended.
func (c *Container) Delete(ctx context.Context) error {
	state := filepath.Join(c.Root, c.ID)
	if !exists(state) && !exists(c.path(configFile)) { // it was never asked for anything
		return nil
	}
	if err := c.Check(); errors.Is(err, fs.ErrNotExist) {
		if exists(state) {
			c.Log.Warn("remove a container's state without its runtime", slog.String("container", c.ID), slog.Any("err", err))
		}
		return os.RemoveAll(state)
	}
	if err := os.MkdirAll(c.Bundle, 0o700); err != nil { // for its log
		return err
	}
	return c.run(ctx, nil, "delete", "--force", c.ID)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Update changes limits.
func (c *Container) Update(ctx context.Context, limits *specs.LinuxResources) error {
	data, err := json.Marshal(limits)
	if err != nil {
		return err
	}
	return c.run(ctx, data, "update", "--resources", "-", c.ID)
}

func (c *Container) run(ctx context.Context, stdin []byte, verb string, args ...string) error {
	logPath := c.path(verb + ".log")
	defer os.Remove(logPath)
	ctx, cancel := c.Bounded(ctx, verb)
	defer cancel()
	_, err := c.output(ctx, logPath, stdin, c.command(logPath, verb, args...))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return c.failed(verb, err.Error())
}

// output runs a command to its end, and returns what it writes.
func (r *Runtime) output(ctx context.Context, logPath string, stdin []byte, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a script is killed with what it runs
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // somebody it left behind may hold the pipes
	cmd.Stdin = bytes.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return out.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it was killed: %w", context.Cause(ctx))
	}
	for _, msg := range []string{lastError(logPath), lastLine(said.Bytes())} {
		if msg != "" {
			return nil, fmt.Errorf("%w: %s", err, msg)
		}
	}
	return nil, err
}

// failed is the error of a command, with the class of what it says.
func (r *Runtime) failed(verb, what string) error {
	class := error(errdefs.ErrFailedPrecondition)
	if strings.Contains(what, `exec: "`) || strings.Contains(what, "executable file `") { // of runc and crun
		class = errdefs.ErrInvalidArgument
	}
	return fmt.Errorf("runtime handler %s: %s %s: %s: %w", r.Name, r.Binary, verb, what, class)
}

// Check says whether the program can be run at all.
func (r *Runtime) Check() error {
	if err := unix.Access(r.Binary, unix.X_OK); err != nil {
		return fmt.Errorf("runtime handler %s: %w: %w", r.Name, &os.PathError{Op: "execute", Path: r.Binary, Err: err}, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Features asks the program what it can do (runtime-spec features.md).
func (r *Runtime) Features(ctx context.Context) (*features.Features, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := r.output(ctx, "", nil, slices.Concat([]string{r.Binary}, r.Args, []string{"features"}))
	return r.parse(out, err)
}

// Schedules says why the program would not give a container's process the scheduling policy and the I/O priority of
// its specification, which has both since version 1.1.0; programs of before pass over them. nil: it would.
func (r *Runtime) Schedules(ctx context.Context) error {
	f, err := r.Features(ctx)
	if err != nil {
		return err
	}
	var major, minor int
	if n, _ := fmt.Sscanf(f.OCIVersionMax, "%d.%d", &major, &minor); n < 2 || major < 1 || major == 1 && minor < 1 {
		return r.failed("features", fmt.Sprintf("it knows the runtime specification up to version %q, in which processes have no scheduling", f.OCIVersionMax))
	}
	return nil
}

func (r *Runtime) parse(out []byte, err error) (*features.Features, error) {
	var f features.Features
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		return nil, r.failed("features", err.Error())
	}
	return &f, nil
}

// lastError is the last error in a log that OCI runtimes write as JSON, or its last line, if that is something else.
func lastError(path string) (msg string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) != nil {
			msg = strings.TrimSpace(string(line))
		} else if entry.Level == "error" || entry.Level == "fatal" {
			msg = entry.Msg
		}
	}
	return msg
}

func lastLine(said []byte) string {
	said = bytes.TrimSpace(said)
	return string(said[bytes.LastIndexByte(said, '\n')+1:])
}
