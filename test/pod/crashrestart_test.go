package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// recovery is what a daemon does when it starts: here, with a pod of each kind of trouble.
func (s *scene) recovery() *attempt {
	p := s.extraPod(podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD }))
	running, ended := p.start(sleeper), p.start(script("exit 3"))
	ended.finish()
	created := p.create(sleeper)
	stopped := s.extraPod()
	if _, err := s.d.runtime.StopPodSandbox(deadline(s.t), &runtime.StopPodSandboxRequest{PodSandboxId: stopped.id}); err != nil {
		s.t.Fatal(err)
	}
	return &attempt{
		restarts: true,
		call: func(context.Context) error {
			s.d.signal(syscall.SIGKILL)
			return s.d.start()
		},
		done: func() error {
			for c, want := range map[*ctr]runtime.ContainerState{
				running: runtime.ContainerState_CONTAINER_RUNNING, ended: runtime.ContainerState_CONTAINER_EXITED, created: runtime.ContainerState_CONTAINER_CREATED,
			} {
				if err := c.inState(want); err != nil {
					return err
				}
			}
			st, err := ended.tryStatus()
			if err == nil && st.ExitCode != 3 {
				err = fmt.Errorf("exit code %d, want 3", st.ExitCode)
			}
			return err
		},
		end: func() {
			if err := created.tryStart(); err != nil {
				s.t.Errorf("start of a container that was created before: %v", err)
			}
			p.remove()
			stopped.remove()
		},
	}
}

// keeperLost is what a daemon does when its keeper was killed.
func (s *scene) keeperLost() *attempt {
	p := s.extraPod()
	c := p.start(sleeper)
	pid := c.pid()
	return &attempt{
		restarts: true,
		call: func(context.Context) error {
			old := s.d.keeperPID()
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				return err
			}
			return until("there is another keeper, or no daemon", func() error {
				select {
				case <-s.d.done:
					return nil
				default:
				}
				if now := s.d.keeperPID(); now == 0 || now == old {
					return fmt.Errorf("the keeper is %d", now)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the daemon may be killed meanwhile
				defer cancel()
				_, err := s.d.runtime.Version(ctx, &runtime.VersionRequest{})
				return err
			})
		},
		done: func() error {
			now, err := c.tryPID()
			if err != nil {
				return err
			}
			if now != pid {
				return fmt.Errorf("pid %d, want %d", now, pid)
			}
			return c.inState(runtime.ContainerState_CONTAINER_RUNNING)
		},
		end: p.remove,
	}
}

// output is what a container writes when it is told to: lines, and one in pieces.
func (s *scene) output(tty bool) *attempt {
	p := s.extraPod()
	orders := s.t.TempDir()
	c := p.start(script("while [ ! -e /orders/go ]; do usleep 5000; done; printf 'one\\ntw'; usleep 20000; printf 'o\\nthree'; usleep 20000; exec sleep 1000000"),
		volume(&runtime.Mount{HostPath: orders, ContainerPath: "/orders"}), func(c *runtime.ContainerConfig) { c.Tty = tty })
	return &attempt{
		call: func(context.Context) error { return os.WriteFile(filepath.Join(orders, "go"), nil, 0o644) },
		done: func() error {
			if out := c.logged("stdout"); out != "one\ntwo\nthree" {
				return fmt.Errorf("the log says %q", out)
			}
			return nil
		},
		end: func() {
			if n := len(strings.Fields(c.logged("stdout"))); n != 3 {
				s.t.Errorf("%d words", n)
			}
			p.remove()
		},
	}
}
