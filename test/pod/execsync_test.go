package pod

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestExecSync(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	tests := []struct {
		name           string
		cmd            []string
		stdout, stderr string
		code           int32
	}{
		{"output", []string{"sh", "-c", "echo out; echo err >&2"}, "out\n", "err\n", 0},
		{"code", []string{"sh", "-c", "exit 77"}, "", "", 77},
		{"signal", []string{"sh", "-c", "kill -9 $$"}, "", "", 137},
		{"empty stdin", []string{"cat"}, "", "", 0},
		{"binary", []string{"printf", `\000\377`}, "\x00\xff", "", 0},
		{"directory", []string{"pwd"}, "/\n", "", 0},
	}
	for _, tt := range tests {
		resp, err := c.tryExec(10, tt.cmd...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if string(resp.Stdout) != tt.stdout || string(resp.Stderr) != tt.stderr || resp.ExitCode != tt.code {
			t.Errorf("%s: stdout %q, stderr %q, exit code %d", tt.name, resp.Stdout, resp.Stderr, resp.ExitCode)
		}
	}
	_, err := c.tryExec(0, "/no/such")
	refused(t, err, codes.InvalidArgument, "/no/such", "not found")
	_, err = c.tryExec(0, "/etc/passwd")
	refused(t, err, codes.InvalidArgument, "/etc/passwd", "not executable")
	_, err = c.tryExec(0)
	refused(t, err, codes.InvalidArgument, "cmd")
	_, err = c.tryExec(-1, "true")
	refused(t, err, codes.InvalidArgument, "timeout")
}

func TestExecSyncTimeout(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	began := time.Now()
	_, err := c.tryExec(1, "sh", "-c", "sleep 5151 & sleep 5152; true")
	refused(t, err, codes.DeadlineExceeded, "1s")
	if took := time.Since(began); took < time.Second || took > 3*time.Second {
		t.Errorf("a timeout of 1 s takes %s", took)
	}
	await(t, "the command's processes end", func() error {
		for _, pid := range processes() {
			if args := cmdline(pid); slices.Contains(args, "5151") || slices.Contains(args, "5152") {
				return fmt.Errorf("%v runs", args)
			}
		}
		return nil
	})
	c.exec("true")
}

// TestExecSyncBackground: a child that holds the output does not hold up the call.
func TestExecSyncBackground(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	began := time.Now()
	if got := c.exec("echo before; sleep 1000000 & echo after"); got != "before\nafter\n" {
		t.Errorf("output %q", got)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the call took %s", took)
	}
	if s := c.status(); s.State != runtime.ContainerState_CONTAINER_RUNNING {
		t.Errorf("container is %s", s.State)
	}
}

func TestExecSyncMuchOutput(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	resp, err := c.tryExec(20, "sh", "-c", "head -c 25000000 /dev/zero; echo end >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 16 << 20
	if n := len(resp.Stdout); n > limit || n < limit-(4<<10) {
		t.Errorf("%d bytes of stdout, want close to %d", n, limit)
	}
	if resp.ExitCode != 3 || string(resp.Stderr) != "end\n" {
		t.Errorf("exit code %d, stderr %q", resp.ExitCode, resp.Stderr)
	}
}

func TestExecSyncMany(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inUserNS)
	cs := []*ctr{suite.shared.runPod(t).start(sleeper), p.start(sleeper)}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			resp, err := cs[i%2].tryExec(20, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
			if err != nil || string(resp.Stdout) != fmtInt(i)+"\n" || resp.ExitCode != int32(i) {
				t.Errorf("exec %d: %v, %v", i, resp, err)
			}
		})
	}
	wg.Wait()
}

// TestExecSyncIsLikeTheContainer compares what the kernel says of process 1 and of an exec.
func TestExecSyncIsLikeTheContainer(t *testing.T) {
	leavesNothing(t, suite.shared)
	kinds := map[string][]option{
		"plain": nil,
		"user": {secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &runtime.Int64Value{Value: 33}, &runtime.Int64Value{Value: 44}, []int64{55}
		})},
		"caps": {secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Capabilities = &runtime.Capability{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"CHOWN"}}
		})},
		"no caps": {secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NoNewPrivs, s.Capabilities = true, &runtime.Capability{DropCapabilities: []string{"ALL"}}
		})},
		"seccomp": {secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
		})},
	}
	for _, userns := range []bool{false, true} {
		var options []podOption
		if userns {
			options = append(options, inUserNS)
		}
		p := suite.shared.runPod(t, options...)
		for name, o := range kinds {
			c := p.start(append(o, sleeper)...)
			c.trapped() // a shell ignores signals of its own, which the execs' do at once
			first, exec := statusFields(c.exec("cat /proc/1/status")), statusFields(c.exec("cat /proc/self/status"))
			for field := range first {
				kind := strings.HasPrefix(field, "Cap") || slices.Contains([]string{"Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Umask", "SigIgn", "SigBlk"}, field)
				if kind && first[field] != exec[field] {
					t.Errorf("%s, user namespace %v: %s of process 1 is %q, of an exec %q", name, userns, field, first[field], exec[field])
				}
			}
			for _, file := range []string{"limits", "cgroup", "oom_score_adj", "attr/current"} {
				read := "cat /proc/%s/" + file + " 2>/dev/null || true"
				if a, b := c.exec(fmt.Sprintf(read, "1")), c.exec(fmt.Sprintf(read, "self")); a != b {
					t.Errorf("%s, user namespace %v: %s of process 1:\n%sof an exec:\n%s", name, userns, file, a, b)
				}
			}
			compare(t, "process 1 and an exec", nsOf(c.exec(listNamespaces("1"))), nsOf(c.exec(listNamespaces("self"))), "net", "ipc", "uts", "pid", "mnt", "cgroup", "user")
			if got := c.exec("ls /proc/self/fd"); got != "0\n1\n2\n3\n" { // 3 is the directory
				t.Errorf("%s: descriptors of an exec: %q", name, got)
			}
			if a, b := c.exec("tr '\\0' '\\n' < /proc/1/environ | sort"), c.exec("env | sort"); !slices.Equal(envNames(a), envNames(b)) {
				t.Errorf("%s: environment of process 1:\n%sof an exec:\n%s", name, a, b)
			}
		}
	}
}

func listNamespaces(pid string) string {
	return "for n in net ipc uts pid mnt cgroup user; do echo $n $(readlink /proc/" + pid + "/ns/$n); done"
}

func nsOf(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		kind, inode, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[kind] = inode
	}
	return out
}

// envNames leaves out what a shell sets for its children.
func envNames(text string) []string {
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(text), "\n"), func(kv string) bool {
		return strings.HasPrefix(kv, "SHLVL=") || strings.HasPrefix(kv, "PWD=") || strings.HasPrefix(kv, "_=")
	})
}

// TestExecSyncTimeoutTree: what a command started ends with it at its timeout, in whatever session it is.
func TestExecSyncTimeoutTree(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	_, err := c.tryExec(1, "sh", "-c", "setsid sleep 6161 & setsid sh -c 'sleep 6162 & sleep 6163; true' & sleep 6164; true")
	if err == nil || !strings.Contains(err.Error(), "1s") {
		t.Error(err)
	}
	await(t, "the command's processes end", func() error {
		for _, pid := range processes() {
			if args := cmdline(pid); len(args) == 2 && args[0] == "sleep" && strings.HasPrefix(args[1], "616") {
				return fmt.Errorf("%v runs", args)
			}
		}
		return nil
	})
	if s := c.status(); s.State != runtime.ContainerState_CONTAINER_RUNNING {
		t.Errorf("container is %s", s.State)
	}
}

// TestExecSyncBothStreams writes more than is kept to both streams at once: a client takes no message of
// more than 16 MiB.
func TestExecSyncBothStreams(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	resp, err := c.tryExec(20, "sh", "-c", "head -c 17000000 /dev/zero >&2 & head -c 17000000 /dev/zero; wait; exit 5")
	if err != nil {
		t.Fatal(err)
	}
	const limit, slack = 16 << 20, 1 << 10
	if sum := len(resp.Stdout) + len(resp.Stderr); len(resp.Stdout) != len(resp.Stderr) || sum > limit || sum < limit-slack || resp.ExitCode != 5 {
		t.Errorf("%d bytes of stdout, %d of stderr, want half of %d each; exit code %d", len(resp.Stdout), len(resp.Stderr), limit, resp.ExitCode)
	}
}

// TestExecSyncBesideEnd: a container ends at any moment of commands that come to it. They are ended with it, or told that it has.
func TestExecSyncBesideEnd(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	for range 15 {
		c := p.start(sleeper)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					_, err := c.tryExec(20, "true")
					if code := status.Code(err); code == codes.FailedPrecondition || code == codes.NotFound {
						return
					} else if code != codes.OK {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
		c.stop(0)
		wg.Wait()
	}
}
