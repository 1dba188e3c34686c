package pod

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// members are the processes that live in cgroups of a container, as the host sees them. One that has ended may be listed there
// until it is reaped, which keeps no cgroup from being removed.
func members(t *testing.T, id string) (pids []int) {
	t.Helper()
	for _, e := range mustReadDir(t, "/proc") {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil || !strings.Contains(string(text), id) {
			continue
		}
		if status := procStatus(pid); status != nil && !(strings.HasPrefix(status["State"], "Z") && status["Threads"] == "1") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stormBound is how long ending a storm may take: it has the two processors of a small machine to itself meanwhile.
const stormBound = 10 * time.Second

// TestEscapeStorm: processes that fork and end faster than they can be listed are all gone when a container is
// stopped, has ended itself, or is removed with its pod, whatever PIDs it shares, and soon. Killing what a list of
// them names leaves some: that is seen first.
func TestEscapeStorm(t *testing.T) {
	leavesNothing(t, suite.shared)
	mode := func(m runtime.NamespaceMode) podOption {
		return podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = m })
	}
	ends := map[string]func(c *ctr){
		"stopped":      func(c *ctr) { c.stop(0) },
		"ended itself": func(c *ctr) { c.finish() },
		"removed": func(c *ctr) {
			if err := c.tryRemove(); err != nil {
				c.t.Error(err)
			}
		},
		"pod stopped": func(c *ctr) {
			if _, err := c.runtime.StopPodSandbox(deadline(c.t), &runtime.StopPodSandboxRequest{PodSandboxId: c.pod.id}); err != nil {
				c.t.Error(err)
			}
		},
		"pod removed": func(c *ctr) { c.remove() },
	}
	t.Run("killed by a list", func(t *testing.T) {
		p := suite.shared.runPod(t)
		survived := 0
		for round := 0; survived == 0 && round < 50; round++ {
			c := p.start(command("/attack", "breed", "3"), attack())
			c.says("bred")
			first := c.pid()
			for _, pid := range members(t, c.id) {
				if pid != first {
					_ = unix.Kill(pid, unix.SIGKILL) // most are gone
				}
			}
			survived += len(members(t, c.id)) - 1
			c.stop(0)
		}
		if survived == 0 {
			t.Error("a list of their processes was enough to end fifty storms: they are none")
		}
	})
	for name, tt := range map[string]struct {
		options []podOption
		target  bool
	}{
		"PIDs of its own":         {},
		"the pod's PIDs":          {options: []podOption{onePIDs}},
		"the pod's PIDs, mapped":  {options: []podOption{onePIDs, inUserNS}},
		"the node's PIDs":         {options: []podOption{mode(runtime.NamespaceMode_NODE)}},
		"the PIDs of a container": {target: true},
	} {
		for how, end := range ends {
			t.Run(name+"/"+how, func(t *testing.T) {
				p := suite.shared.runPod(t, tt.options...)
				bred := []string{"/attack", "breed", "3"}
				if how == "ended itself" {
					bred = append(bred, "and end")
				}
				options := []option{command(bred...), attack()}
				if tt.target {
					target := p.start(sleeper)
					options = append(options, secured(func(s *securityContext) {
						s.NamespaceOptions.Pid, s.NamespaceOptions.TargetId = runtime.NamespaceMode_TARGET, target.id
					}))
				}
				c := p.start(options...)
				if how != "ended itself" {
					c.says("bred")
				}
				if how != "ended itself" && c.status().State != runtime.ContainerState_CONTAINER_RUNNING {
					t.Fatal("the container has ended before")
				}
				begun := time.Now()
				end(c)
				if took := time.Since(begun); took > stormBound {
					t.Errorf("it took %s", took)
				}
				if how == "ended itself" { // the exit is told first
					await(t, "the rest is gone", func() error { return noMembers(t, c.id) })
				} else if err := noMembers(t, c.id); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func noMembers(t *testing.T, id string) error {
	t.Helper()
	if left := members(t, id); len(left) > 0 {
		return fmt.Errorf("processes %v are left", left)
	}
	return nil
}

// TestEscapePassedDescriptors: a container gives its output, root and namespaces to a process outside, by a socket in a
// volume. That holds up neither the news of its end nor the removal of its pod, and what was written until then is in the log.
func TestEscapePassedDescriptors(t *testing.T) {
	leavesNothing(t, suite.shared)
	for name, options := range map[string][]podOption{"": nil, "in a user namespace": {inUserNS}, "shared PIDs": {onePIDs}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(dir, "socket")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := os.Chmod(socket, 0o777); err != nil {
				t.Fatal(err)
			}
			p := suite.shared.runPod(t, options...)
			c := p.start(script("echo before; /attack pass /v/socket; echo after; exec sleep 1000000"), attack(), volume(&runtime.Mount{HostPath: dir, ContainerPath: "/v"}))
			c.says("after")
			fds := handedOver(t, l)
			defer func() {
				for _, fd := range fds {
					unix.Close(fd)
				}
			}()
			begun := time.Now()
			c.stop(0)
			if took := time.Since(begun); took > stormBound {
				t.Errorf("its end was told after %s", took)
			}
			if got := c.logged("stdout"); got != "before\nafter\n" {
				t.Errorf("the log has %q", got)
			}
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
			if _, err := p.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
				t.Error(err)
			}
			if _, err := unix.Write(fds[0], []byte("nobody's\n")); err != unix.EPIPE {
				t.Errorf("its output, which it is no more, takes what is written: %v", err)
			}
		})
	}
}

// handedOver are the descriptors that come by the first connection.
func handedOver(t *testing.T, l *net.UnixListener) []int {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	control := make([]byte, 1024)
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		t.Fatalf("%d messages with descriptors, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) < 7 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	return fds
}
