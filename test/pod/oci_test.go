package pod

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ociConfig has a runtime handler for each OCI runtime that is tested with: Debian's runc and crun (hack/packages), but
// crun only where the hierarchy of cgroups is one that it takes.
func ociConfig(t *testing.T) (config string, handlers []string) {
	t.Helper()
	for _, name := range []string{"runc", "crun"} {
		if name == "crun" && !onV2() {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("[handlers.%s]\nbinary = %q\n", name, path)
		handlers = append(handlers, name)
	}
	return config, handlers
}

// ociDaemon is a daemon with runtime handlers.
func ociDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	d := ownDaemon(t, options{config: config})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOCIRuntime runs containers by OCI runtimes, from the start to their ends.
func TestOCIRuntime(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	for _, handler := range handlers {
		t.Run(handler, func(t *testing.T) {
			leavesNothing(t, d)
			t.Cleanup(func() { d.hasNoState(t, handler) })
			p := d.runPodBy(t, handler)
			t.Run("output and exit code", func(t *testing.T) {
				c := p.with(t).start(script("echo out; echo err >&2; hostname; exit 7"))
				if s := c.finish(); s.ExitCode != 7 || s.Reason != "Error" {
					t.Errorf("exit code %d, reason %q", s.ExitCode, s.Reason)
				}
				if out, err := c.logged("stdout"), c.logged("stderr"); out != "out\n"+p.config.Hostname+"\n" || err != "err\n" {
					t.Errorf("logged %q, %q", out, err)
				}
			})
			t.Run("namespaces", func(t *testing.T) {
				a, b := p.with(t).start(sleeper), p.with(t).start(sleeper)
				compare(t, "two containers", namespaces(t, a.pid()), namespaces(t, b.pid()), append([]string{"user"}, podKinds...)...)
			})
			t.Run("exec", func(t *testing.T) {
				c := p.with(t).start(sleeper)
				resp, err := c.tryExec(0, "sh", "-c", "echo in; echo bad >&2; exit 3")
				if err != nil || resp.ExitCode != 3 || string(resp.Stdout) != "in\n" || string(resp.Stderr) != "bad\n" {
					t.Errorf("%v, %v", resp, err)
				}
				if _, err := c.tryExec(0, "/absent"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "/absent") {
					t.Errorf("a command that is not there: %v", err)
				}
				if _, err := c.tryExec(1, "sleep", "4711"); status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("a command that takes too long: %v", err)
				}
				if out := c.exec("ps | grep -c 471[1] || true"); out != "0\n" {
					t.Errorf("it runs on: %s", out)
				}
			})
			t.Run("exec with a terminal", func(t *testing.T) {
				c := p.with(t).start(sleeper)
				s := c.session(asked{stdin: true, tty: true}, "sh", "-c", "tty; read x; echo got $x; exit 4")
				s.types("this\n")
				if code := s.finish(); code != 4 || !strings.Contains(s.stdout.String(), "/dev/pts/0") || !strings.Contains(s.stdout.String(), "got this") {
					t.Errorf("exit code %d: %q", code, s.stdout)
				}
			})
			t.Run("attach", func(t *testing.T) {
				c := p.with(t).start(interactive(true), script("read x; echo got $x; exit 5"))
				s := c.attach(asked{stdin: true})
				s.types("that\n")
				s.finish()
				if st := c.finish(); st.ExitCode != 5 || c.logged("stdout") != "got that\n" || s.stdout.String() != "got that\n" {
					t.Errorf("exit code %d, log %q, session %q", st.ExitCode, c.logged("stdout"), s.stdout)
				}
			})
			t.Run("terminal", func(t *testing.T) {
				c := p.with(t).start(terminal, interactive(false), script("tty; read x; echo got $x"))
				s := c.attach(asked{stdin: true, tty: true})
				s.types("that\n")
				if st := c.finish(); st.ExitCode != 0 || !strings.Contains(c.logged("stdout"), "got that") {
					t.Errorf("exit code %d, log %q", st.ExitCode, c.logged("stdout"))
				}
				s.finish()
			})
			t.Run("stop", func(t *testing.T) {
				c := p.with(t).start(script("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"))
				c.says("ready")
				c.stop(10)
				if s := c.finish(); s.ExitCode != 9 {
					t.Errorf("exit code %d", s.ExitCode)
				}
				c = p.with(t).start(script("trap '' TERM; echo ready; while :; do sleep 0.1; done"))
				c.says("ready")
				c.stop(1)
				if s := c.finish(); s.ExitCode != 137 || s.Reason != "Error" {
					t.Errorf("exit code %d, reason %q", s.ExitCode, s.Reason)
				}
			})
			t.Run("update", func(t *testing.T) {
				c := p.with(t).start(sleeper, resources(&runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}))
				if err := c.update(&runtime.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuShares: 512}); err != nil {
					t.Fatal(err)
				}
				if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(128<<20) {
					t.Errorf("memory limit is %s", got)
				}
			})
			t.Run("stats", func(t *testing.T) {
				c := p.with(t).start(sleeper)
				resp, err := d.runtime.ContainerStats(deadline(t), &runtime.ContainerStatsRequest{ContainerId: c.id})
				if err != nil || resp.Stats.Memory.GetWorkingSetBytes().GetValue() == 0 || resp.Stats.Cpu.GetUsageCoreNanoSeconds().GetValue() == 0 {
					t.Errorf("%v, %v", resp, err)
				}
			})
			t.Run("out of memory", func(t *testing.T) {
				if s := p.with(t).start(script("exec tail /dev/zero"), resources(&runtime.LinuxContainerResources{MemoryLimitInBytes: 32 << 20, MemorySwapLimitInBytes: 32 << 20})).finish(); s.ExitCode != 137 || s.Reason != "OOMKilled" {
					t.Errorf("exit code %d, reason %q", s.ExitCode, s.Reason)
				}
			})
			t.Run("command that is not there", func(t *testing.T) {
				c := p.with(t).create(command("/absent"))
				if err := c.tryStart(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "/absent") {
					t.Errorf("start: %v", err)
				}
				if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.Reason != "StartError" || s.ExitCode != 128 {
					t.Errorf("%v", s)
				}
			})
			t.Run("volumes", func(t *testing.T) {
				dir := t.TempDir()
				writeFile(t, dir+"/file", "content")
				ro := volume(&runtime.Mount{HostPath: dir, ContainerPath: "/data", Readonly: true})
				if s, out := p.with(t).output(ro, script("cat /data/file; touch /data/x 2>/dev/null || echo -n ' ro'; : > /etc/hosts.new; cat /proc/1/cgroup > /dev/null")); s.ExitCode != 0 || out != "content ro" {
					t.Errorf("exit code %d: %q", s.ExitCode, out)
				}
			})
		})
	}
}

// TestOCIRuntimePIDs shares PIDs among containers of an OCI runtime, and uses the host's namespaces.
func TestOCIRuntimePIDs(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	for _, handler := range handlers {
		t.Run(handler, func(t *testing.T) {
			p := d.runPodBy(t, handler, onePIDs)
			a, b := p.start(sleeper), p.start(sleeper)
			compare(t, "two containers", namespaces(t, a.pid()), namespaces(t, b.pid()), append([]string{"pid", "user"}, podKinds...)...)
			b.stop(0)
			if err := b.tryRemove(); err != nil {
				t.Error(err)
			}
			a.exec("true")
			host := d.runPodBy(t, handler, podNamespaces(func(n *runtime.NamespaceOption) {
				n.Network, n.Pid, n.Ipc = runtime.NamespaceMode_NODE, runtime.NamespaceMode_NODE, runtime.NamespaceMode_NODE
			}))
			compare(t, "the host", namespaces(t, host.start(sleeper).pid()), namespaces(t, os.Getpid()), "pid", "net", "ipc", "user", "time")
		})
	}
}

// TestOCIRuntimeUserNS runs containers in a pod with a user namespace, by those OCI runtimes that say they can.
func TestOCIRuntimeUserNS(t *testing.T) {
	config, _ := ociConfig(t)
	d := ociDaemon(t, config)
	leavesNothing(t, d)
	if onV2() { // Debian 12's crun has no features
		_, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: podConfig("pod", inUserNS), RuntimeHandler: "crun"})
		if known := exec.Command("crun", "features").Run() == nil; !known && status.Code(err) != codes.FailedPrecondition {
			t.Errorf("crun, which tells no features: %v", err)
		}
	}
	p := d.runPodBy(t, "runc", inUserNS)
	c := p.start(sleeper)
	if got := strings.Fields(c.exec("cat /proc/self/uid_map")); strings.Join(got, " ") != fmt.Sprintf("0 %d %d", hostIDs, manyIDs) {
		t.Errorf("id map is %v", got)
	}
	c.exec("touch /x && chown 5:5 /x && mount | grep -q overlay")
}

// TestOCIRuntimeSurvives has daemon and keeper go while containers of an OCI runtime run.
func TestOCIRuntimeSurvives(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	for _, handler := range handlers {
		t.Run(handler, func(t *testing.T) {
			leavesNothing(t, d)
			p := d.runPodBy(t, handler)
			c, orders := p.start(interactive(false), script("while read x; do echo $x; [ $x != end ] || exit 6; done")), p.start(sleeper)
			d.signal(syscall.SIGKILL)
			<-d.done
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			s := c.attach(asked{stdin: true})
			s.types("one\n")
			c.says("one")
			keeper := d.keeperPID()
			_ = syscall.Kill(keeper, syscall.SIGKILL)
			await(t, "another keeper", func() error {
				if _, err := orders.tryExec(0, "true"); err != nil {
					return err
				}
				if d.keeperPID() == keeper {
					return fmt.Errorf("it is the former")
				}
				return nil
			})
			s = c.attach(asked{stdin: true})
			s.types("end\n")
			if st := c.finish(); c.logged("stdout") != "one\nend\n" || st.ExitCode != 6 && st.ExitCode != 255 {
				t.Errorf("exit code %d, log %q", st.ExitCode, c.logged("stdout"))
			}
			orders.stop(0)
			p.remove()
			d.hasNoState(t, handler)
		})
	}
}

// TestOCIRuntimeFails has a runtime fail at each of its commands.
func TestOCIRuntimeFails(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var config strings.Builder
	verbs := []string{"create", "start", "kill", "delete", "exec", "update", "features"}
	for _, verb := range verbs {
		path := dir + "/" + verb
		writeFile(t, path, fmt.Sprintf("#!/bin/sh\n[ -e %s.mended ] || case \" $* \" in *\" %s \"*) echo %[2]s is broken >&2; exit 1;; esac\nexec %s \"$@\"\n", path, verb, runc))
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&config, "[handlers.no-%s]\nbinary = %q\n", verb, path)
	}
	writeFile(t, dir+"/plain", "")
	fmt.Fprintf(&config, "[handlers.absent]\nbinary = %q\n[handlers.plain]\nbinary = %q\n", dir+"/absent", dir+"/plain")
	d := ociDaemon(t, config.String())
	refused := func(t *testing.T, err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want FailedPrecondition with %q", err, w)
			}
		}
	}
	for _, handler := range []string{"absent", "plain", "no-create", "no-start"} {
		t.Run(handler, func(t *testing.T) {
			leavesNothing(t, d)
			c := d.runPodBy(t, handler).create(sleeper)
			words := []string{"runtime handler " + handler}
			if verb, ok := strings.CutPrefix(handler, "no-"); ok {
				words = append(words, verb+" is broken")
			}
			refused(t, c.tryStart(), words...)
			if s := c.status(); s.Reason != "StartError" || s.ExitCode != 128 {
				t.Errorf("%v", s)
			}
			d.hasNoState(t, handler)
		})
	}
	t.Run("no-kill", func(t *testing.T) {
		leavesNothing(t, d)
		c := d.runPodBy(t, "no-kill").start(script("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"))
		c.says("ready")
		c.stop(10) // we can, too
		if s := c.finish(); s.ExitCode != 9 {
			t.Errorf("exit code %d", s.ExitCode)
		}
	})
	t.Run("no-delete", func(t *testing.T) {
		leavesNothing(t, d)
		p := d.runPodBy(t, "no-delete")
		c := p.start(sleeper)
		c.stop(0)
		refused(t, c.tryRemove(), "runtime handler no-delete", "delete is broken")
		writeFile(t, dir+"/delete.mended", "")
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
		d.hasNoState(t, "no-delete")
	})
	t.Run("no-exec", func(t *testing.T) {
		c := d.runPodBy(t, "no-exec").start(sleeper)
		resp, err := c.tryExec(0, "true")
		if err != nil || resp.ExitCode != 1 || string(resp.Stderr) != "exec is broken\n" { // it logs nothing: who knows
			t.Errorf("%v, %v", resp, err)
		}
	})
	t.Run("no-update", func(t *testing.T) {
		c := d.runPodBy(t, "no-update").start(sleeper, resources(&runtime.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}))
		refused(t, c.update(&runtime.LinuxContainerResources{MemoryLimitInBytes: 128 << 20}), "update is broken")
		if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(64<<20) {
			t.Errorf("memory limit is %s", got)
		}
	})
	t.Run("features", func(t *testing.T) {
		for _, verb := range verbs {
			d.awaitUserNS(t, "no-"+verb, verb != "features")
		}
		for _, handler := range []string{"absent", "plain", "no-features"} {
			_, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: podConfig("pod", inUserNS), RuntimeHandler: handler})
			refused(t, err, "userns_options: mode POD", fmt.Sprintf("not among the features of runtime handler %q", handler))
			d.awaitUserNS(t, handler, false)
		}
	})
	_, err = d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: podConfig("pod"), RuntimeHandler: "unknown"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"unknown" is not configured`) {
		t.Errorf("an unknown handler: %v", err)
	}
}

// with is the pod in a subtest.
func (p *pod) with(t *testing.T) *pod { return &pod{p.daemon, t, p.id, p.config} }

// hasNoState checks that an OCI runtime knows of no container any more.
func (d *daemon) hasNoState(t *testing.T, handler string) {
	t.Helper()
	left, err := os.ReadDir(d.path("state/oci/" + handler))
	if err != nil || len(left) > 0 {
		t.Errorf("state of %s: %v, %v", handler, left, err)
	}
}
