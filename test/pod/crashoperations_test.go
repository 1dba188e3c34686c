package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// operations are those that TestCrashPoints interrupts: all that change something.
var operations = []operation{
	{"pod up", func(s *scene) *attempt {
		return s.podUp(podConfig("crash", func(c *runtime.PodSandboxConfig) {
			c.PortMappings = []*runtime.PortMapping{{HostPort: 18999, ContainerPort: 80}}
		}))
	}},
	{"pod up in a user namespace", func(s *scene) *attempt { return s.podUp(podConfig("crash", inUserNS)) }},
	{"container create", (*scene).containerCreate},
	{"container start", func(s *scene) *attempt {
		return s.containerStart(sleeper, func(c *runtime.ContainerConfig) { c.Stdin = true })
	}},
	{"container start in a shared PID namespace", func(s *scene) *attempt {
		return s.containerStartIn(s.extraPod(podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })), sleeper)
	}},
	{"container start by an OCI runtime", func(s *scene) *attempt { return s.containerStartIn(s.extraPodBy("runc"), sleeper) }},
	{"container start that fails", (*scene).failingStart},
	{"container update", (*scene).containerUpdate},
	{"container exit", (*scene).containerExit},
	{"container stop", func(s *scene) *attempt { return s.containerStop(sleeper, 20) }},
	{"container stop by force", func(s *scene) *attempt { return s.containerStop(script("exec sleep 1000000"), 0) }},
	{"container remove", (*scene).containerRemove},
	{"exec", (*scene).execCommand},
	{"log reopen", (*scene).logReopen},
	{"pod stop", func(s *scene) *attempt {
		p := s.extraPod(func(c *runtime.PodSandboxConfig) {
			c.PortMappings = []*runtime.PortMapping{{HostPort: 18999, ContainerPort: 80}}
		})
		p.start(sleeper)
		return s.podStop(p)
	}},
	{"pod remove", (*scene).podRemove},
	{"image pull", (*scene).imagePull},
	{"image remove", (*scene).imageRemove},
	{"output", func(s *scene) *attempt { return s.output(false) }},
	{"output of a terminal", func(s *scene) *attempt { return s.output(true) }},
	{"recovery", (*scene).recovery},
	{"keeper lost", (*scene).keeperLost},
}

// extraPod is a pod beside the scene's, removed by the attempt's end.
func (s *scene) extraPod(options ...podOption) *pod {
	s.t.Helper()
	return s.extraPodBy("", options...)
}

func (s *scene) extraPodBy(handler string, options ...podOption) *pod {
	s.t.Helper()
	config := podConfig("crash", options...)
	config.LogDirectory = s.t.TempDir()
	resp, err := s.d.runtime.RunPodSandbox(deadline(s.t), &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		s.t.Fatal(err)
	}
	return &pod{s.d, s.t, resp.PodSandboxId, config}
}

func (s *scene) podUp(config *runtime.PodSandboxConfig) *attempt {
	config.LogDirectory = s.t.TempDir()
	var id string
	return &attempt{
		call: func(ctx context.Context) error {
			resp, err := s.d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
			if err == nil {
				id = resp.PodSandboxId
			}
			return err
		},
		done: func() error {
			list, err := s.d.runtime.ListPodSandbox(deadline(s.t), &runtime.ListPodSandboxRequest{
				Filter: &runtime.PodSandboxFilter{LabelSelector: config.Labels}})
			if err != nil {
				return err
			}
			if n := len(list.Items); n != 1 || list.Items[0].Id != id || list.Items[0].State != runtime.PodSandboxState_SANDBOX_READY {
				return fmt.Errorf("%d pods: %v, want %s", n, list.Items, id)
			}
			return nil
		},
		end: func() {
			p := &pod{s.d, s.t, id, config}
			if _, out := p.output(script("hostname; ip -4 -o addr show dev eth0")); !strings.Contains(out, "crash\n") || !strings.Contains(out, p.ip()+"/") {
				s.t.Errorf("a container in the pod says %q, want the hostname and %s", out, p.ip())
			}
			p.remove()
		},
	}
}

// inState is that a container is in a state.
func (c *ctr) inState(want runtime.ContainerState) error {
	_, err := c.statusIn(want)
	return err
}

// statusIn is a container's status if that is in a state.
func (c *ctr) statusIn(want runtime.ContainerState) (*runtime.ContainerStatus, error) {
	st, err := c.tryStatus()
	if err != nil {
		return nil, err
	}
	if st.State != want {
		return nil, fmt.Errorf("container is %s, exit code %d, reason %q, message %q", st.State, st.ExitCode, st.Reason, st.Message)
	}
	return st, nil
}

func (s *scene) containerCreate() *attempt {
	p := s.extraPod()
	c := &ctr{pod: p, config: p.containerConfig(sleeper)}
	return &attempt{
		call: func(ctx context.Context) error {
			resp, err := s.d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: p.id, Config: c.config, SandboxConfig: p.config})
			if err == nil {
				c.id = resp.ContainerId
			}
			return err
		},
		done: func() error {
			list, err := s.d.runtime.ListContainers(deadline(s.t), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{PodSandboxId: p.id}})
			if err != nil {
				return err
			}
			if len(list.Containers) != 1 || list.Containers[0].Id != c.id {
				return fmt.Errorf("containers %v, want %s", list.Containers, c.id)
			}
			return c.inState(runtime.ContainerState_CONTAINER_CREATED)
		},
		end: func() {
			if err := c.tryStart(); err != nil {
				s.t.Errorf("a container that was created does not start: %v", err)
			}
			p.remove()
		},
	}
}

func (s *scene) containerStart(options ...option) *attempt {
	return s.containerStartIn(s.extraPod(), options...)
}

func (s *scene) containerStartIn(p *pod, options ...option) *attempt {
	c := p.create(options...)
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: c.id})
			return err
		},
		done: func() error {
			return c.inState(runtime.ContainerState_CONTAINER_RUNNING)
		},
		end: func() {
			if r, err := c.tryExec(0, "true"); err != nil || r.ExitCode != 0 {
				s.t.Errorf("exec in the container that was started: %v, exit code %d", err, r.GetExitCode())
			}
			p.remove()
		},
	}
}

// failingStart is of a container whose command is not there: undone or failed, it is so without a trace.
func (s *scene) failingStart() *attempt {
	p := s.extraPod()
	c := p.create(command("/no/such"))
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: c.id})
			if err != nil && strings.Contains(err.Error(), "/no/such") {
				return nil
			}
			return err
		},
		done: func() error { return c.inState(runtime.ContainerState_CONTAINER_EXITED) },
		end:  p.remove,
	}
}

func (s *scene) containerUpdate() *attempt {
	p := s.extraPod()
	c := p.start(sleeper)
	const limit = 48 << 20
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.UpdateContainerResources(ctx, &runtime.UpdateContainerResourcesRequest{
				ContainerId: c.id, Linux: &runtime.LinuxContainerResources{MemoryLimitInBytes: limit},
			})
			return err
		},
		done: func() error {
			st, err := c.statusIn(runtime.ContainerState_CONTAINER_RUNNING)
			if err != nil {
				return err
			}
			if got := st.Resources.GetLinux().GetMemoryLimitInBytes(); got != limit {
				return fmt.Errorf("the limit is %d", got)
			}
			return nil
		},
		end: p.remove,
	}
}

// containerExit is no call but happens by itself: the call gives the order.
func (s *scene) containerExit() *attempt {
	p := s.extraPod()
	orders := s.t.TempDir()
	c := p.start(script("while [ ! -e /orders/go ]; do usleep 5000; done; echo last words; exit 7"),
		volume(&runtime.Mount{HostPath: orders, ContainerPath: "/orders"}))
	return &attempt{
		call: func(context.Context) error { return os.WriteFile(filepath.Join(orders, "go"), nil, 0o644) },
		done: func() error {
			st, err := c.statusIn(runtime.ContainerState_CONTAINER_EXITED)
			if err != nil {
				return err
			}
			if st.ExitCode != 7 || st.Reason != "Error" {
				return finalError{fmt.Errorf("exit code %d, reason %q, want 7, Error", st.ExitCode, st.Reason)}
			}
			if out := c.logged("stdout"); out != "last words\n" {
				return finalError{fmt.Errorf("its log says %q", out)}
			}
			return nil
		},
		end: p.remove,
	}
}

func (s *scene) containerStop(what option, grace int64) *attempt {
	p := s.extraPod()
	c := p.start(what)
	if grace > 0 {
		c.trapped()
	}
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: c.id, Timeout: grace})
			return err
		},
		done: func() error {
			st, err := c.statusIn(runtime.ContainerState_CONTAINER_EXITED)
			if err != nil {
				return err
			}
			if st.ExitCode != 0 && st.ExitCode != 137 {
				return finalError{fmt.Errorf("exit code %d", st.ExitCode)}
			}
			return nil
		},
		end: p.remove,
	}
}

func (s *scene) containerRemove() *attempt {
	p := s.extraPod()
	c := p.start(sleeper)
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: c.id})
			return err
		},
		done: func() error {
			list, err := s.d.runtime.ListContainers(deadline(s.t), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{PodSandboxId: p.id}})
			if err == nil && len(list.Containers) != 0 {
				err = fmt.Errorf("containers %v", list.Containers)
			}
			return err
		},
		end: p.remove,
	}
}

func (s *scene) execCommand() *attempt {
	var out string
	return &attempt{
		call: func(ctx context.Context) error {
			resp, err := s.d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: s.sleeping.id, Cmd: []string{"sh", "-c", "usleep 20000; echo $((6*7))"}})
			if err == nil {
				out = string(resp.Stdout)
			}
			return err
		},
		done: func() error {
			if out != "42\n" {
				return fmt.Errorf("it says %q", out)
			}
			return s.noCommands()
		},
		end: func() {},
	}
}

// noCommands is that no exec of before still runs.
func (s *scene) noCommands() error {
	for _, pid := range processes() {
		if args := cmdline(pid); slices.Contains(args, "usleep 20000; echo $((6*7))") {
			return fmt.Errorf("process %d is %q", pid, args)
		}
	}
	return nil
}

func (s *scene) logReopen() *attempt {
	log := s.writer.logFile()
	rotated := unique(log)
	s.count("before the log is renamed")
	if err := os.Rename(log, rotated); err != nil {
		s.t.Fatal(err)
	}
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: s.writer.id})
			return err
		},
		done: func() error {
			if info, err := os.Stat(log); err != nil || info.Size() == 0 {
				return errors.Join(err, errors.New("nothing is written to the new log"))
			}
			if s.rotated != rotated {
				s.finishRotated(rotated)
				s.rotated = rotated
			}
			return nil
		},
		end: func() {},
	}
}

// finishRotated reads the rest of a log that was renamed.
func (s *scene) finishRotated(path string) {
	s.t.Helper()
	s.countIn(path, "in the log that was renamed")
	s.offset = 0
}

func (s *scene) podStop(p *pod) *attempt {
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
			return err
		},
		done: func() error {
			st, err := p.tryStatus()
			if err == nil && st.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
				err = fmt.Errorf("pod is %s", st.State)
			}
			return err
		},
		end: p.remove,
	}
}

func (s *scene) podRemove() *attempt {
	p := s.extraPod(inUserNS)
	p.start(sleeper)
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.id})
			return err
		},
		done: func() error {
			list, err := s.d.runtime.ListPodSandbox(deadline(s.t), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{Id: p.id}})
			if err == nil && len(list.Items) != 0 {
				err = fmt.Errorf("pods %v", list.Items)
			}
			return err
		},
		end: p.remove,
	}
}

func (s *scene) imagePull() *attempt {
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.images.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: layers}})
			return err
		},
		done: func() error {
			resp, err := s.d.images.ImageStatus(deadline(s.t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: layers}})
			if err == nil && resp.Image == nil {
				err = errors.New("the image is not there")
			}
			return err
		},
		end: func() { s.removeImage() },
	}
}

func (s *scene) removeImage() {
	s.t.Helper()
	if _, err := s.d.images.RemoveImage(deadline(s.t), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: layers}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) imageRemove() *attempt {
	s.d.pull(s.t, layers)
	return &attempt{
		call: func(ctx context.Context) error {
			_, err := s.d.images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: layers}})
			return err
		},
		done: func() error {
			resp, err := s.d.images.ImageStatus(deadline(s.t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: layers}})
			if err == nil && resp.Image != nil {
				err = errors.New("the image is there")
			}
			return err
		},
		end: func() {},
	}
}
