package pod

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/nsutil"
)

// TestEscapeHunt: through a process that the runtime brings into a container, nobody there reaches what is the
// runtime's, not even with CAP_SYS_PTRACE. The hunter is shown to work on a process that is there with the host's root.
func TestEscapeHunt(t *testing.T) {
	leavesNothing(t, suite.shared)
	mount := t.TempDir()
	hostMount(t, mount, unix.MS_PRIVATE)
	o := unharmed(t)
	args := []string{"hunt", o.canary, mount, bridgePrefix}
	hunt := command(append([]string{"/attack"}, args...)...)
	for _, tt := range []struct {
		name, handler string
		options       []podOption
	}{{name: "plain"}, {"user namespace", "", []podOption{inUserNS}}, {isolated, isolated, []podOption{inUserNS}}} {
		t.Run(tt.name, func(t *testing.T) {
			p := suite.shared.runPodBy(t, tt.handler, tt.options...)
			for _, caps := range []option{added("SYS_PTRACE"), added("CHOWN")} {
				hunter := p.start(hunt, attack(), caps)
				hunter.says("hunting")
				for range rounds(60) {
					hunter.run("true")
				}
				hunter.run("sh", "-c", "true")
				if s := hunter.session(asked{tty: true}, "true"); s.finish() != 0 {
					t.Error("a command with a terminal fails")
				}
				hunter.fails()
			}
		})
		t.Run(tt.name+", shared PIDs", func(t *testing.T) {
			p := suite.shared.runPodBy(t, tt.handler, append(tt.options, onePIDs)...)
			neighbour := p.start(sleeper)
			hunter := p.start(hunt, attack(), added("SYS_PTRACE"))
			hunter.says("hunting")
			if err := nsutil.ProbeProcPIDNS(); err != nil {
				t.Logf("containers do not start out of sight on this kernel: %v", err)
			} else {
				for range rounds(10) {
					p.start(command("true")).finish()
				}
			}
			for range rounds(30) {
				neighbour.run("true")
			}
			hunter.fails()
		})
	}
	t.Run("it would find one", func(t *testing.T) {
		hunter := exec.CommandContext(deadline(t), filepath.Join(suite.bin, "attack"), args...)
		out, err := hunter.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := hunter.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = hunter.Process.Kill()
			_ = hunter.Wait() // it was killed
		}()
		said := bufio.NewScanner(out)
		says(t, said, "hunting") // before, it does not know yet whom to leave alone
		victim := exec.CommandContext(deadline(t), "sleep", "1000")
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = victim.Process.Kill()
			_ = victim.Wait() // it was killed
		}()
		says(t, said, "escaped: root: "+canaryText, "escaped: mountinfo: "+mount, "escaped: net/dev: "+bridgePrefix)
	})
}

// says reads until all of these lines were there, in any order.
func says(t *testing.T, lines *bufio.Scanner, wanted ...string) {
	t.Helper()
	var others []string
	for len(wanted) > 0 && lines.Scan() {
		if i := slices.Index(wanted, lines.Text()); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
		} else {
			others = append(others, lines.Text())
		}
	}
	if len(wanted) > 0 {
		t.Fatalf("it did not say %q, but %q: %v", wanted, others, lines.Err())
	}
}

// untilRunning is an error until a process has used some time.
func untilRunning(pid int) error {
	stat, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return err
	}
	if fields := strings.Fields(string(stat)); fields[13] == "0" && fields[14] == "0" { // utime, stime: proc_pid_stat(5)
		return fmt.Errorf("process %d has not run", pid)
	}
	return nil
}

// run executes a command that has to succeed.
func (c *ctr) run(args ...string) {
	c.t.Helper()
	resp, err := c.tryExec(10, args...)
	if err != nil || resp.ExitCode != 0 {
		c.t.Errorf("%q: %v, %v", args, resp, err)
	}
}

// TestEscapeOverwrite has the runtime execute itself in a container, which "#!/proc/self/exe" does, and then opens
// for writing what that process ran. The same move overwrites a program that is a file.
func TestEscapeOverwrite(t *testing.T) {
	leavesNothing(t, suite.shared)
	unharmed(t)
	keeper := filepath.Join(suite.bin, "keeper")
	before, err := os.ReadFile(keeper)
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			c := suite.shared.runPod(t, options...).start(sleeper, attack(), added("SYS_PTRACE"))
			c.exec("printf '#!/proc/self/exe\\n' > /script && chmod 755 /script && cp /bin/busybox /victim")
			c.exec("(sleep 1 & exec /attack overwrite /victim) | grep '^escaped: wrote into /victim'")
			resp, err := c.tryExec(10, "/script", "--help")
			if err == nil && !strings.Contains(string(resp.Stderr), "msg=keeper") {
				t.Logf("the script did not run the keeper's program: %v", resp)
			}
			c.keeps("/attack", "overwrite", "/proc/1/root/proc/self/exe/../../nothing")
			for _, pid := range []string{"self", "1"} {
				c.keeps("sh", "-c", "/attack overwrite /proc/"+pid+"/exe | grep -v /bin/busybox | grep -v /attack | grep escaped")
			}
		})
	}
	if link, err := os.Readlink(procPath(suite.shared.keeperPID(), "exe")); err != nil || !strings.HasPrefix(link, "/memfd:") {
		t.Errorf("the keeper's program is %s, %v: a file of the host's", link, err)
	}
	f, err := os.OpenFile(procPath(suite.shared.keeperPID(), "exe"), os.O_RDWR, 0) // as one whom nothing keeps from it
	if err == nil {
		defer f.Close()
		if _, err := f.Write([]byte{0}); err == nil {
			t.Error("the keeper's program can be written into")
		}
	}
	if after, err := os.ReadFile(keeper); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the keeper's file has changed: %v", err)
	}
}

// TestEscapeDescriptorPaths puts links to every descriptor in the place of the working directory, of a command and of
// its interpreter, at start and at exec. With cgroup v2, one is of a directory of the host's.
func TestEscapeDescriptorPaths(t *testing.T) {
	leavesNothing(t, suite.shared)
	unified := unifiedDaemon(t)
	unified.pull(t, busybox)
	o := unharmed(t)
	o.has("program")
	for cgroups, d := range map[string]*daemon{"the host's cgroups": suite.shared, "cgroup v2": unified} {
		for name, options := range users {
			t.Run(strings.TrimSpace(cgroups+" "+name), func(t *testing.T) { d.runPod(t, options...).descriptorPaths(o) })
		}
	}
}

// unifiedDaemon is one that sees cgroup v2, without a controller where the host has them in v1.
func unifiedDaemon(t *testing.T) *daemon {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "tare")
	writeFile(t, program, fmt.Sprintf(`#!/bin/sh
test "$1" = serve || exec %[1]s/tare "$@"
exec unshare -m sh -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec "$0" "$@"' %[1]s/tare "$@"
`, suite.bin))
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	return ownDaemon(t, options{bin: dir})
}

func (p *pod) descriptorPaths(o *outside) {
	t, up := p.t, strings.Repeat("/..", 12)
	c := p.start(sleeper, func(c *runtime.ContainerConfig) { c.WorkingDir = "/work" })
	root := procPath(c.pid(), "root")
	for fd := range 32 {
		relink(t, filepath.Join(root, "work"), fmt.Sprintf("/proc/self/fd/%d", fd))
		_, err := c.tryExec(10, "true")
		refused(t, err, codes.InvalidArgument, "working_dir")
	}
	relink(t, filepath.Join(root, "work"), "/tmp")
	for fd := range 32 {
		link := fmt.Sprintf("/proc/self/fd/%d", fd) + up + o.dir + "/program"
		relink(t, filepath.Join(root, "command"), link)
		writeFile(t, filepath.Join(root, "script"), "#!"+link+"\n")
		if err := os.Chmod(filepath.Join(root, "script"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"/command", "/script", link} {
			if resp, err := c.tryExec(10, command); err == nil {
				t.Errorf("%s, a program of the host by descriptor %d, runs: %v", command, fd, resp)
			}
		}
	}
	for fd := 3; fd < 16; fd++ {
		bad := p.create(sleeper, func(c *runtime.ContainerConfig) { c.WorkingDir = fmt.Sprintf("/proc/self/fd/%d", fd) })
		if err := bad.tryStart(); err == nil {
			t.Errorf("a container starts in descriptor %d: %s", fd, bad.exec("pwd"))
		}
	}
	c.exec("cd /work && pwd -P | grep '^/tmp$'")
}

// relink has a name be a link.
func relink(t *testing.T, name, target string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// TestEscapeExecHangs: whatever a container does to commands that are executed in it, ExecSync ends with its timeout, and
// costs the keeper nothing that stays. What commands themselves do is in the tests of ExecSync.
func TestEscapeExecHangs(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	before := childrenOf(d.keeperPID())
	p := d.runPod(t)
	for name, tt := range map[string]struct {
		hostile option
		command []string
	}{
		"stops whoever comes":    {command("/attack", "stop"), []string{"true"}},
		"traces whoever comes":   {command("/attack", "trace"), []string{"true"}},
		"leaves output to child": {sleeper, []string{"sh", "-c", "setsid sleep 100000 & exec sleep 100000"}},
		"writes for ever":        {sleeper, []string{"yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			q := *p
			q.t = t
			c := q.start(tt.hostile, attack(), added("SYS_PTRACE"))
			if cmdline(c.pid())[0] == "/attack" {
				await(t, "the attack runs", func() error { return untilRunning(c.pid()) })
			}
			for range 2 {
				began := time.Now()
				_, err := c.tryExec(1, tt.command...)
				if took := time.Since(began); took > 3*time.Second*time.Duration(*slower) {
					t.Errorf("a timeout of one second took %s (%v)", took, err)
				}
			}
			c.stop(0)
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "the keeper holds nothing of them", func() error {
		for _, pid := range childrenOf(d.keeperPID()) {
			if !slices.Contains(before, pid) {
				return fmt.Errorf("process %d: %q", pid, cmdline(pid))
			}
		}
		return nil
	})
}

// TestEscapeNeighbours: a container that shares its pod's PIDs sees its neighbours, and takes nothing from them that
// capabilities or users do not give it; of the process that holds the PIDs, nothing at all.
func TestEscapeNeighbours(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, append([]podOption{onePIDs}, options...)...)
			victim := p.start(sleeper, asUser(1000), func(c *runtime.ContainerConfig) {
				c.Envs = []*runtime.KeyValue{{Key: "SECRET", Value: []byte("mine")}}
			})
			c := p.start(sleeper, attack(), asUser(2000))
			pid := lastField(procStatus(victim.pid())["NSpid"])
			for _, move := range []string{
				"cat /proc/" + pid + "/environ", "ls /proc/" + pid + "/root/", "ls /proc/" + pid + "/fd/", "kill -9 " + pid,
				"cat /proc/" + pid + "/maps | grep .", ": > /proc/" + pid + "/mem", "echo 1000 > /proc/" + pid + "/oom_score_adj",
				"kill -9 1", "ls /proc/1/root/ | grep .", "ls /proc/1/fd/ | grep .", "cat /proc/1/root" + o.canary,
			} {
				c.keeps("sh", "-c", move)
			}
			root := p.start(sleeper, attack(), added("SYS_PTRACE"))
			if got := root.exec("cat /proc/" + pid + "/environ | tr '\\0' '\\n' | grep SECRET"); got != "SECRET=mine\n" {
				t.Errorf("with CAP_SYS_PTRACE, the environment of a neighbour is %q: the moves would not show a success", got)
			}
			root.keeps("sh", "-c", "cat /proc/1/root"+o.canary)
			root.keeps("sh", "-c", "ls /proc/1/root/ | grep .")
			root.keeps("sh", "-c", "ls /proc/1/fd/ | grep .")
			// It is in no container's cgroup, nor under any profile: who does it as its user would have left both behind.
			p.start(sleeper, attack(), asUser(65534)).keeps("/attack", "possess", "1")
			if got := root.exec("grep ^Seccomp: /proc/1/status"); got != "Seccomp:\t2\n" {
				t.Errorf("with CAP_SYS_PTRACE, the first process can be made to call anything: %q", got)
			}
		})
	}
}

// TestEscapeTracedStop: a container whose first process another one traces is stopped all the same, when its pod is.
func TestEscapeTracedStop(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, onePIDs)
	tracer := p.start(command("/attack", "trace"), attack(), added("SYS_PTRACE"))
	await(t, "the tracer looks", func() error { return untilRunning(tracer.pid()) })
	victim := p.start(sleeper)
	await(t, "it is traced", func() error {
		if procStatus(victim.pid())["TracerPid"] == "0" {
			return fmt.Errorf("process %d is not", victim.pid())
		}
		return nil
	})
	if _, err := p.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Error(err)
	}
	if s := victim.status(); s.State != runtime.ContainerState_CONTAINER_EXITED {
		t.Errorf("the traced container is %s", s.State)
	}
}

// TestEscapeInheritable: a process has no inheritable capability, which a file's could turn into a permitted one.
func TestEscapeInheritable(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, options := range users {
		p := suite.shared.runPod(t, options...)
		for _, user := range []option{asUser(0), asUser(1000)} {
			c := p.start(sleeper, user, added("SYS_ADMIN", "NET_ADMIN"))
			for field, want := range map[string]string{"CapInh": caps(0), "CapAmb": caps(0)} {
				if got := procStatus(c.pid())[field]; got != want {
					t.Errorf("%s is %s", field, got)
				}
				if got := c.exec("grep " + field + " /proc/self/status"); got != field+":\t"+want+"\n" {
					t.Errorf("in an exec %q", got)
				}
			}
		}
	}
}

// TestEscapeGroups: a process has the groups of its user and no other, at start and at exec; none is left of the
// runtime's own, and the primary group is among them (CVE-2023-25173: else a file of it that denies groups would be open).
func TestEscapeGroups(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, options := range users {
		p := suite.shared.runPod(t, options...)
		c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup = &runtime.Int64Value{Value: 1000}, &runtime.Int64Value{Value: 3000}
			s.SupplementalGroups = []int64{4000}
		}))
		const want = "3000 4000"
		got := strings.Fields(c.exec("grep ^Groups: /proc/1/status /proc/self/status | cut -f2-"))
		if strings.Join(got, " ") != want+" "+want {
			t.Errorf("groups of the first process and of an exec are %v, want %s each", got, want)
		}
	}
}

// TestEscapeHandles guesses handles of the host's files. The move works outside.
func TestEscapeHandles(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	for _, options := range users {
		c := suite.shared.runPod(t, options...).start(sleeper, attack())
		c.keeps("/attack", "handle", o.canary)
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/etc", &st); err != nil || st.Type != unix.EXT4_SUPER_MAGIC {
		t.Skipf("that it works outside is known of ext4, and /etc is on %#x: %v", st.Type, err)
	}
	if out, err := run(filepath.Join(suite.bin, "attack"), "handle", o.canary); err != nil {
		t.Errorf("the move does not work where nothing keeps it: %s, %v", out, err)
	}
}

// TestEscapeKeyrings: keys of the runtime's session are in nobody's reach.
func TestEscapeKeyrings(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, options := range users {
		p := suite.shared.runPod(t, options...)
		a, b := p.start(sleeper, attack()), p.start(sleeper, attack())
		rings := []string{a.exec("/attack keyring"), a.exec("/attack keyring"), b.exec("/attack keyring")}
		own, err := run(filepath.Join(suite.bin, "attack"), "keyring")
		if err != nil {
			t.Fatal(err)
		}
		for i, ring := range rings {
			if ring == own || slices.Contains(rings[:i], ring) {
				t.Errorf("session keyring %q is not the process's own: %q, the host's %q", ring, rings, own)
			}
		}
	}
}
