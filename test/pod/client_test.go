package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pod is a sandbox a test made; it is removed when the test is over.
type pod struct {
	*daemon
	t      *testing.T
	id     string
	config *runtime.PodSandboxConfig
}

// ctr is a container of a pod.
type ctr struct {
	*pod
	id     string
	config *runtime.ContainerConfig
}

// podOption and option change what a test asks for.
type (
	podOption func(*runtime.PodSandboxConfig)
	option    func(*runtime.ContainerConfig)
)

var serial atomic.Int64

func unique(prefix string) string { return fmt.Sprintf("%s-%d", prefix, serial.Add(1)) }

// podConfig asks for a pod as kubelets do.
func podConfig(name string, options ...podOption) *runtime.PodSandboxConfig {
	uid := unique(name)
	c := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: name, Uid: uid, Namespace: "default"},
		Hostname: name,
		Linux: &runtime.LinuxPodSandboxConfig{SecurityContext: &runtime.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER},
		}},
		Labels: map[string]string{"io.kubernetes.pod.uid": uid},
	}
	for _, o := range options {
		o(c)
	}
	return c
}

func podNamespaces(change func(*runtime.NamespaceOption)) podOption {
	return func(c *runtime.PodSandboxConfig) { change(c.Linux.SecurityContext.NamespaceOptions) }
}

// runPod makes a pod whose logs are in a directory of the test.
func (d *daemon) runPod(t *testing.T, options ...podOption) *pod {
	t.Helper()
	return d.runPodBy(t, "", options...)
}

// runPodBy makes it with a runtime handler.
func (d *daemon) runPodBy(t *testing.T, handler string, options ...podOption) *pod {
	t.Helper()
	config := podConfig("pod", options...)
	if config.LogDirectory == "" {
		config.LogDirectory = t.TempDir()
	}
	resp, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{d, t, resp.PodSandboxId, config}
	t.Cleanup(p.remove)
	return p
}

// deadline is the context of one call.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	t.Cleanup(cancel)
	return ctx
}

func (p *pod) remove() {
	p.t.Helper()
	if _, err := p.runtime.RemovePodSandbox(deadline(p.t), &runtime.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Errorf("remove pod: %v", err)
	}
}

func (p *pod) status() *runtime.PodSandboxStatus {
	p.t.Helper()
	st, err := p.tryStatus()
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// tryStatus is for when the daemon may be gone.
func (p *pod) tryStatus() (*runtime.PodSandboxStatus, error) {
	resp, err := p.runtime.PodSandboxStatus(deadline(p.t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id})
	return resp.GetStatus(), err
}

func (p *pod) ip() string { return p.status().Network.Ip }

// containerConfig asks for a container of busybox with the pod's own namespace modes, as kubelets
// do.
func (p *pod) containerConfig(options ...option) *runtime.ContainerConfig {
	name := unique("c")
	c := &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: name},
		Image:    &runtime.ImageSpec{Image: busybox},
		LogPath:  name + ".log",
		Linux: &runtime.LinuxContainerConfig{
			Resources:       &runtime.LinuxContainerResources{},
			SecurityContext: &runtime.LinuxContainerSecurityContext{},
		},
	}
	if ns := p.config.Linux.SecurityContext.NamespaceOptions; ns != nil {
		c.Linux.SecurityContext.NamespaceOptions = &runtime.NamespaceOption{
			Network: ns.Network, Pid: ns.Pid, Ipc: ns.Ipc, UsernsOptions: ns.UsernsOptions,
		}
	}
	for _, o := range options {
		o(c)
	}
	return c
}

func command(args ...string) option {
	return func(c *runtime.ContainerConfig) { c.Command = args }
}

// script is a command of the image's shell.
func script(text string) option { return command("sh", "-c", text) }

// sleeper runs until it is stopped, which it is quickly.
var sleeper = script("trap 'exit 0' TERM; sleep 1000000 & wait")

func image(ref string) option {
	return func(c *runtime.ContainerConfig) { c.Image = &runtime.ImageSpec{Image: ref} }
}

func secured(change func(*runtime.LinuxContainerSecurityContext)) option {
	return func(c *runtime.ContainerConfig) { change(c.Linux.SecurityContext) }
}

func volume(m *runtime.Mount) option {
	return func(c *runtime.ContainerConfig) { c.Mounts = append(c.Mounts, m) }
}

// create makes a container without starting it.
func (p *pod) create(options ...option) *ctr {
	p.t.Helper()
	config := p.containerConfig(options...)
	id, err := p.tryCreate(config)
	if err != nil {
		p.t.Fatal(err)
	}
	return &ctr{p, id, config}
}

func (p *pod) tryCreate(config *runtime.ContainerConfig) (string, error) {
	resp, err := p.runtime.CreateContainer(deadline(p.t), &runtime.CreateContainerRequest{
		PodSandboxId: p.id, Config: config, SandboxConfig: p.config,
	})
	return resp.GetContainerId(), err
}

// start makes a container and starts it.
func (p *pod) start(options ...option) *ctr {
	p.t.Helper()
	c := p.create(options...)
	if err := c.tryStart(); err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (c *ctr) tryStart() error {
	_, err := c.runtime.StartContainer(deadline(c.t), &runtime.StartContainerRequest{ContainerId: c.id})
	return err
}

// trapped waits until a shell, as sleeper's, has set its trap for SIGTERM.
func (c *ctr) trapped() {
	c.t.Helper()
	await(c.t, "the shell has set its trap", func() error {
		caught, err := strconv.ParseUint(procStatus(c.pid())["SigCgt"], 16, 64)
		if err == nil && caught&(1<<(syscall.SIGTERM-1)) == 0 {
			err = errors.New("it has not")
		}
		return err
	})
}

// finish waits until a container has exited.
func (c *ctr) finish() *runtime.ContainerStatus {
	c.t.Helper()
	var s *runtime.ContainerStatus
	await(c.t, "container exits", func() error {
		if s = c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED {
			return fmt.Errorf("it is %s", s.State)
		}
		return nil
	})
	return s
}

// output starts a container, waits for its end, and returns its status and what it wrote to stdout.
func (p *pod) output(options ...option) (*runtime.ContainerStatus, string) {
	p.t.Helper()
	c := p.start(options...)
	s := c.finish()
	return s, c.logged("stdout")
}

func (c *ctr) status() *runtime.ContainerStatus {
	c.t.Helper()
	st, err := c.tryStatus()
	if err != nil {
		c.t.Fatal(err)
	}
	return st
}

// tryStatus is for when the daemon may be gone.
func (c *ctr) tryStatus() (*runtime.ContainerStatus, error) {
	resp, err := c.runtime.ContainerStatus(deadline(c.t), &runtime.ContainerStatusRequest{ContainerId: c.id})
	return resp.GetStatus(), err
}

// pid is the container's first process.
func (c *ctr) pid() int {
	c.t.Helper()
	pid, err := c.tryPID()
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

// tryPID is for when the daemon may be gone.
func (c *ctr) tryPID() (int, error) {
	resp, err := c.runtime.ContainerStatus(deadline(c.t), &runtime.ContainerStatusRequest{ContainerId: c.id, Verbose: true})
	if err != nil {
		return 0, err
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil || info.Pid == 0 {
		return 0, fmt.Errorf("no pid in the verbose status: %w\n%s", err, resp.Info["info"])
	}
	return info.Pid, nil
}

func (c *ctr) stop(grace int64) {
	c.t.Helper()
	if _, err := c.runtime.StopContainer(deadline(c.t), &runtime.StopContainerRequest{ContainerId: c.id, Timeout: grace}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *ctr) tryRemove() error {
	_, err := c.runtime.RemoveContainer(deadline(c.t), &runtime.RemoveContainerRequest{ContainerId: c.id})
	return err
}

// exec runs a command of the shell and returns its stdout; it has to succeed.
func (c *ctr) exec(text string) string {
	c.t.Helper()
	resp, err := c.tryExec(0, "sh", "-c", text)
	if err != nil {
		c.t.Fatalf("exec %q: %v", text, err)
	}
	if resp.ExitCode != 0 {
		c.t.Fatalf("exec %q: exit code %d: %s%s", text, resp.ExitCode, resp.Stdout, resp.Stderr)
	}
	return string(resp.Stdout)
}

func (c *ctr) tryExec(timeout int64, args ...string) (*runtime.ExecSyncResponse, error) {
	return c.runtime.ExecSync(deadline(c.t), &runtime.ExecSyncRequest{ContainerId: c.id, Cmd: args, Timeout: timeout})
}

func (c *ctr) logFile() string { return filepath.Join(c.pod.config.LogDirectory, c.config.LogPath) }

// logged is what a container wrote to a stream, put together from its log.
func (c *ctr) logged(stream string) string {
	c.t.Helper()
	var b strings.Builder
	for _, e := range readLog(c.t, c.logFile()) {
		if e.stream == stream {
			b.WriteString(e.text())
		}
	}
	return b.String()
}

// says waits until a container's log has a line.
func (c *ctr) says(line string) {
	c.t.Helper()
	await(c.t, "log says "+line, func() error {
		if text := c.logged("stdout"); !slices.Contains(strings.Split(text, "\n"), line) {
			return fmt.Errorf("log is %q", text)
		}
		return nil
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pull has an image in the store.
func (d *daemon) pull(t *testing.T, ref string) {
	t.Helper()
	if _, err := d.tryPull(t, ref); err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
}

func (d *daemon) tryPull(t *testing.T, ref string) (string, error) {
	resp, err := d.images.PullImage(deadline(t), &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}})
	return resp.GetImageRef(), err
}
