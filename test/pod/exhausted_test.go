package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNoDescriptors leaves a few descriptors to the daemon or to the keeper (EMFILE). Calls that need more are refused with
// ResourceExhausted, or with Unavailable where a connection broke for it; what runs goes on under the same
// keeper; with descriptors again, everything works and nothing is left.
func TestNoDescriptors(t *testing.T) {
	for _, who := range []string{"daemon", "keeper"} {
		t.Run(who, func(t *testing.T) {
			d := ownDaemon(t, options{})
			if err := d.warmUp(); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, d)
			p := d.runPod(t)
			c := p.start(sleeper)
			pid, keeper := c.pid(), d.keeperPID()
			victim := map[string]int{"daemon": d.pid(), "keeper": keeper}[who]
			for _, spare := range []int{0, 1, 3, 6, 12} {
				restore := leaveDescriptors(t, victim, spare)
				scarce(t, p, c, fmt.Sprintf("with %d descriptors to spare", spare))
				restore()
				recovered(t, c)
			}
			if c.pid() != pid || d.keeperPID() != keeper {
				t.Errorf("container %d of keeper %d is %d of %d now", pid, keeper, c.pid(), d.keeperPID())
			}
			d.removeAll(t)
			d.serves(t)
		})
	}
}

// soon is the context of a call that must not wait for what is missing.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// scarce makes calls while something is used up: they work or are refused with a code that says why.
func scarce(t *testing.T, p *pod, c *ctr, when string) {
	t.Helper()
	d := p.daemon
	check := func(op string, err error) {
		t.Helper()
		if code := status.Code(err); code != codes.OK && code != codes.ResourceExhausted && code != codes.Unavailable {
			t.Errorf("%s, %s: %v", op, when, err)
		}
	}
	for range 3 {
		_, err := c.tryExec(0, "true")
		check("exec", err)
		_, err = d.runtime.ListContainerStats(soon(t), &runtime.ListContainerStatsRequest{})
		check("stats", err)
		id, err := p.tryCreate(p.containerConfig(sleeper))
		check("create", err)
		if err == nil {
			_, err = d.runtime.StartContainer(soon(t), &runtime.StartContainerRequest{ContainerId: id})
			check("start", err)
			_, err = d.runtime.RemoveContainer(soon(t), &runtime.RemoveContainerRequest{ContainerId: id})
			check("remove", err)
		}
		run, err := d.runtime.RunPodSandbox(soon(t), &runtime.RunPodSandboxRequest{Config: podConfig("scarce")})
		check("run pod", err)
		if err == nil {
			_, err = d.runtime.RemovePodSandbox(soon(t), &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId})
			check("remove pod", err)
		}
	}
}

// recovered waits until a daemon that may have started over executes again.
func recovered(t *testing.T, c *ctr) {
	t.Helper()
	await(t, "exec works again", func() error {
		_, err := c.tryExec(0, "true")
		return err
	})
}

// leaveDescriptors lowers a process's limit to what it has open and a few more, and returns what restores it.
func leaveDescriptors(t *testing.T, pid, spare int) (restore func()) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(len(open) + spare), Max: old.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestNoProcesses puts the keeper into a cgroup that allows no further process (fork(2): EAGAIN). Go's runtime ends a process
// that gets no thread when it wants one: then another keeper takes over, and the container still goes on.
func TestNoProcesses(t *testing.T) {
	d := ownDaemon(t, options{})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	p := d.runPod(t)
	c := p.start(sleeper)
	pid := c.pid()
	unlimited := limitProcesses(t, d.keeperPID())
	if _, err := c.tryExec(0, "true"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("exec: %v", err)
	}
	scarce(t, p, c, "with no process to spare")
	unlimited()
	recovered(t, c)
	if c.pid() != pid {
		t.Errorf("container %d is %d now", pid, c.pid())
	}
	d.removeAll(t)
	d.serves(t)
}

// limitProcesses allows a process no more threads or children than it has, and returns what takes that back.
func limitProcesses(t *testing.T, pid int) (undo func()) {
	t.Helper()
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	home, err := cgroupOf(pid, root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, suite.cgroup+"-full")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	if err := move(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte("1"), 0); err != nil {
		t.Error(err)
	}
	return func() {
		if err := move(home); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
		await(t, "the cgroup is empty", func() error { return os.Remove(dir) })
	}
}

// cgroupOf is the directory of a process's cgroup in the hierarchy mounted at root.
func cgroupOf(pid int, root string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	controller := filepath.Base(root)
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == controller || controller == "cgroup" && f[1] == "" {
			return filepath.Join(root, f[2]), nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup of %s", pid, root)
}

// TestDeadNamespace starts a container into a PID namespace whose first process was killed: the kernel makes no
// process there any more (clone(2): ENOMEM). The pod gets another namespace.
func TestDeadNamespace(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD }))
	c := p.start(sleeper)
	first := firstOf(t, c.pid())
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := c.finish(); s.ExitCode != 137 {
		t.Errorf("exit code %d", s.ExitCode)
	}
	gone(t, first)
	if out := p.start(sleeper).exec("echo again"); out != "again\n" {
		t.Errorf("exec says %q", out)
	}
}

// firstOf finds the first process of the PID namespace that a process is in.
func firstOf(t *testing.T, pid int) int {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range processes() {
		there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", other))
		if err == nil && there == ns && strings.HasSuffix(procStatus(other)["NSpid"], "\t1") {
			return other
		}
	}
	t.Fatalf("no first process in %s", ns)
	return 0
}
