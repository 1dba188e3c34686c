package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tare/cni/bridge"
	"tare/trace"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

const (
	// maxOutput bounds what is kept of a plugin's stdout and stderr each, in bytes.
	maxOutput = 1 << 20
	// maxQuoted bounds what an error quotes of it.
	maxQuoted = 512
	// drainTimeout is how long a killed plugin's pipes may stay open in somebody else's hands.
	drainTimeout = time.Second
)

// runner is libcni's way to plugins (invoke.Exec): the one that is compiled in is called, every
// other is executed.
type runner struct {
	version.PluginDecoder
	plugin  *bridge.Plugin
	timeout time.Duration // of one run
}

var _ invoke.Exec = (*runner)(nil)

// FindInPath returns the plugin's path, or its bare name if it is compiled in.
// ErrFailedPrecondition: there is no such plugin.
func (r *runner) FindInPath(plugin string, paths []string) (string, error) {
	if plugin == bridge.Type {
		return plugin, nil
	}
	path, err := invoke.FindInPath(plugin, paths)
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return path, nil
}

// ExecPlugin runs one verb and returns what the plugin printed.
func (r *runner) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) (_ []byte, err error) {
	ctx, step := trace.Start(ctx, "plugin "+filepath.Base(path))
	defer step.End(&err)
	if path == bridge.Type {
		command, args := pluginArgs(stdin, environ)
		return r.plugin.Run(ctx, command, args)
	}
	runCtx, cancel := context.WithTimeoutCause(ctx, r.timeout, errRunTimeout)
	defer cancel()
	out, errOut, err := run(runCtx, path, stdin, environ)
	if err == nil {
		return out, checkOutput(path, environ, out)
	}
	if cause := context.Cause(runCtx); cause != nil {
		return nil, r.interrupted(path, environ, cause)
	}
	return nil, pluginError(path, out, errOut, err)
}

// errRunTimeout tells the bound of one run from a deadline of the caller's.
var errRunTimeout = errors.New("plugin run timeout")

func (r *runner) interrupted(path string, environ []string, cause error) error {
	name, verb := filepath.Base(path), variable(environ, "CNI_COMMAND")
	if errors.Is(cause, errRunTimeout) {
		return fmt.Errorf("plugin %s: no answer to %s within %v, killed: %w", name, verb, r.timeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("plugin %s: %s interrupted, killed: %w", name, verb, cause)
}

// run executes a plugin as leader of a process group of its own, so that what it has started
// (plugins delegate to plugins) is killed with it.
func run(ctx context.Context, path string, stdin []byte, environ []string) (out, errOut []byte, err error) {
	cmd := exec.CommandContext(ctx, path)
	stdout, stderr := &capped{max: maxOutput}, &capped{max: maxOutput}
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, bytes.NewReader(stdin), stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = drainTimeout
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it succeeded, and left somebody behind who holds its stdout
	}
	return stdout.buf.Bytes(), stderr.buf.Bytes(), err
}

// capped keeps the first max bytes and swallows the rest, so that a plugin that floods its
// stdout costs no memory and still ends by itself.
type capped struct {
	buf bytes.Buffer
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	c.buf.Write(p[:min(len(p), c.max-c.buf.Len())])
	return len(p), nil
}

// checkOutput makes ADD's answer readable errors where libcni's would be the JSON decoder's.
func checkOutput(path string, environ []string, out []byte) error {
	if variable(environ, "CNI_COMMAND") != "ADD" || json.Valid(out) {
		return nil
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return fmt.Errorf("plugin %s: ADD succeeded but printed no result", filepath.Base(path))
	}
	return fmt.Errorf("plugin %s: ADD printed what is no JSON: %q", filepath.Base(path), quote(out))
}

// pluginError is the error that a plugin printed, as the specification asks, or else all that
// is known. ErrUnavailable: the plugin says that it may work later.
func pluginError(path string, out, errOut []byte, err error) error {
	name := filepath.Base(path)
	said := &types.Error{}
	if json.Unmarshal(out, said) == nil && (said.Code != 0 || said.Msg != "") {
		switch said.Code {
		case types.ErrTryAgainLater, types.ErrPluginNotAvailable, types.ErrLimitedConnectivity:
			return fmt.Errorf("plugin %s: code %d: %w: %w", name, said.Code, said, errdefs.ErrUnavailable)
		}
		return fmt.Errorf("plugin %s: code %d: %w", name, said.Code, said)
	}
	if text := bytes.TrimSpace(append(out, errOut...)); len(text) > 0 {
		return fmt.Errorf("plugin %s: %w: %q", name, err, quote(text))
	}
	return fmt.Errorf("plugin %s: %w", name, err)
}

func quote(text []byte) []byte { return text[:min(len(text), maxQuoted)] }

// pluginArgs reads the call from the environment that it would have been executed with.
func pluginArgs(stdin []byte, environ []string) (command string, args *skel.CmdArgs) {
	return variable(environ, "CNI_COMMAND"), &skel.CmdArgs{
		ContainerID: variable(environ, "CNI_CONTAINERID"),
		Netns:       variable(environ, "CNI_NETNS"),
		IfName:      variable(environ, "CNI_IFNAME"),
		Args:        variable(environ, "CNI_ARGS"),
		Path:        variable(environ, "CNI_PATH"),
		StdinData:   stdin,
	}
}

// variable returns the last value given: libcni appends to the daemon's own environment.
func variable(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}
