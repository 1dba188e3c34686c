package container

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/nsutil"
	"tare/sandbox"
)

// HooksBeforeRoot says whether a specification has hooks that run when the container's root is complete
// and the host's is still in sight (runtime-spec config.md, "POSIX-platform Hooks").
func HooksBeforeRoot(oci *specs.Spec) bool {
	h := oci.Hooks
	return h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0 //lint:ignore SA1019 deprecated, but still in use
}

// HooksInRoot says whether it has hooks that run in the container right before its command.
func HooksInRoot(oci *specs.Spec) bool { return oci.Hooks != nil && len(oci.Hooks.StartContainer) > 0 }

// checkHooks refuses hooks that could not run.
func checkHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	//lint:ignore SA1019 deprecated, but still in use
	all := [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop}
	for _, list := range all {
		for _, hook := range list {
			if !path.IsAbs(hook.Path) {
				return fmt.Errorf("hook %q: not an absolute path: %w", hook.Path, errdefs.ErrFailedPrecondition)
			}
			if strings.ContainsRune(strings.Join(slices.Concat([]string{hook.Path}, hook.Args, hook.Env), ""), 0) {
				return fmt.Errorf("hook %q: NUL byte in its path, arguments or variables: %w", hook.Path, errdefs.ErrFailedPrecondition)
			}
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				return fmt.Errorf("hook %s: timeout %d is not above 0: %w", hook.Path, *hook.Timeout, errdefs.ErrFailedPrecondition)
			}
		}
	}
	return nil
}

// meet stops the program until the hooks have run.
func (c *compiler) meet() { c.b.Meet(c.b.File(c.Meeting, "hooks")) }

// HookRun is everything a hook's program is compiled from.
type HookRun struct {
	Hook    specs.Hook
	Sandbox *sandbox.Sandbox
	Stdio   [3]*os.File
	// PidFD is of the process whose namespaces the hook runs in, with its cgroup; nil: the runtime's.
	PidFD  *os.File
	Cgroup Cgroup
	// OOMScoreFloor is as in Start.
	OOMScoreFloor int
}

// Hook makes the program that executes a hook, as root with all the power it has in its namespaces.
func Hook(h HookRun) *nsutil.Program {
	c := &compiler{Start: Start{OCI: &specs.Spec{Process: &specs.Process{}}, Sandbox: h.Sandbox, Cgroup: h.Cgroup, Stdio: h.Stdio, OOMScoreFloor: h.OOMScoreFloor}, b: nsutil.NewBuilder()}
	c.join()
	if h.PidFD != nil {
		c.enter(h.PidFD)
	}
	c.pipes()
	if h.PidFD != nil {
		c.b.CloseAbove2()
		c.b.Fork()
	}
	c.b.NewSession(false)
	c.b.Umask(0o022)
	args := h.Hook.Args
	if len(args) == 0 {
		args = []string{h.Hook.Path}
	}
	c.b.Exec([]string{h.Hook.Path}, args, h.Hook.Env)
	return c.b.Program()
}
