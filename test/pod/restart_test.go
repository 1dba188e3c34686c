package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// counter writes numbered lines for ever.
var counter = script("i=0; while :; do echo $i; i=$((i+1)); usleep 1000; done")

// household is what runs while something of the runtime dies: a container that writes, one that
// exits and one that runs out of memory when they are told to, one that does neither.
type household struct {
	*pod
	orders                           string // directory of the files they wait for
	writer, exiter, hungry, sleeping *ctr
	user                             *ctr // in a pod with a user namespace
	exec                             chan error
}

func newHousehold(t *testing.T, d *daemon) *household {
	t.Helper()
	h := &household{pod: d.runPod(t), orders: t.TempDir(), exec: make(chan error, 1)}
	orders := volume(&runtime.Mount{HostPath: h.orders, ContainerPath: "/orders"})
	const await = "while [ ! -e /orders/go ]; do usleep 5000; done; "
	h.writer = h.start(counter)
	h.exiter = h.start(script(await+"exit 7"), orders)
	h.hungry = h.start(script(await+"exec tail /dev/zero"), orders, func(c *runtime.ContainerConfig) {
		c.Linux.Resources.MemoryLimitInBytes = 32 << 20
	})
	h.sleeping = h.start(sleeper)
	h.user = d.runPod(t, inUserNS).start(sleeper)
	go func() { // ends with the exec, that is with the daemon
		_, err := h.sleeping.tryExec(0, "sleep", "4242")
		h.exec <- err
	}()
	h.executing(true)
	return h
}

// executing waits until the exec's process is there, or is not.
func (h *household) executing(want bool) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("exec runs: %v", want), func() error {
		if got := slices.ContainsFunc(processes(), func(pid int) bool { return slices.Equal(cmdline(pid), []string{"sleep", "4242"}) }); got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// lines reads the writer's log and checks that no number is missing, doubled or out of order.
func (h *household) lines(paths ...string) int {
	h.t.Helper()
	n := 0
	for _, path := range paths {
		for _, e := range readLog(h.t, path) {
			if e.content != strconv.Itoa(n) || e.partial {
				h.t.Fatalf("log %s has %q where %d should be", filepath.Base(path), e.content, n)
			}
			n++
		}
	}
	return n
}

// grows waits until the writer's log has more lines than n.
func (h *household) grows(n int, paths ...string) {
	h.t.Helper()
	await(h.t, "log grows", func() error {
		if now := h.lines(paths...); now <= n {
			return fmt.Errorf("%d lines", now)
		}
		return nil
	})
}

// obey gives the order to exit and to run out of memory.
func (h *household) obey() {
	h.t.Helper()
	writeFile(h.t, filepath.Join(h.orders, "go"), "")
}

// ended checks what is on record of the two that have ended.
func (h *household) ended() {
	h.t.Helper()
	if s := h.exiter.finish(); s.ExitCode != 7 || s.Reason != "Error" || s.FinishedAt < s.StartedAt {
		h.t.Errorf("exit code %d, reason %q, started %d, finished %d; want 7, Error", s.ExitCode, s.Reason, s.StartedAt, s.FinishedAt)
	}
	if s := h.hungry.finish(); s.ExitCode != 137 || s.Reason != "OOMKilled" {
		h.t.Errorf("exit code %d, reason %q, want 137, OOMKilled", s.ExitCode, s.Reason)
	}
}

// works does to the survivors what can be done to containers.
func (h *household) works() {
	h.t.Helper()
	if got := h.sleeping.exec("echo $((6*7))"); got != "42\n" {
		h.t.Errorf("exec says %q", got)
	}
	if got := h.user.exec("id -u"); got != "0\n" {
		h.t.Errorf("exec in the user namespace says %q", got)
	}
	log, rotated := h.writer.logFile(), h.writer.logFile()+".1"
	if err := os.Rename(log, rotated); err != nil {
		h.t.Fatal(err)
	}
	if err := h.writer.reopenLog(); err != nil {
		h.t.Fatal(err)
	}
	h.grows(h.lines(rotated), rotated, log)
	h.writer.stop(0)
	if s := h.writer.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 {
		h.t.Errorf("stopped container is %s with exit code %d", s.State, s.ExitCode)
	}
	if err := h.exiter.tryRemove(); err != nil {
		h.t.Error(err)
	}
	if got := h.start(script("exec httpd -f")).status().State; got != runtime.ContainerState_CONTAINER_RUNNING {
		h.t.Errorf("a new container in the pod is %s", got)
	}
	if s, out := h.user.output(script("echo new")); out != "new\n" {
		h.t.Errorf("a new container in the user namespace says %q, exit code %d", out, s.ExitCode)
	}
}

func (c *ctr) reopenLog() error {
	_, err := c.runtime.ReopenContainerLog(deadline(c.t), &runtime.ReopenContainerLogRequest{ContainerId: c.id})
	return err
}

// inventory is what a restart must not change.
func (d *daemon) inventory(t *testing.T) []string {
	t.Helper()
	pods, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	containers, err := d.runtime.ListContainers(deadline(t), &runtime.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range pods.Items {
		s, err := d.runtime.PodSandboxStatus(deadline(t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.Id})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint("pod ", p.Id, p.State, s.Status.Network, p.CreatedAt))
	}
	for _, c := range containers.Containers {
		out = append(out, fmt.Sprint("container ", c.Id, c.PodSandboxId, c.ImageId, c.CreatedAt))
	}
	slices.Sort(out)
	return out
}

// TestDaemonRestart ends the daemon while containers run.
func TestDaemonRestart(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(strings.ReplaceAll(sig.String(), " ", "-"), func(t *testing.T) {
			d := ownDaemon(t, options{})
			d.pull(t, busybox)
			h := newHousehold(t, d)
			created := h.create(sleeper)
			before := d.inventory(t)
			keeper := d.keeperPID()
			exiter, hungry := h.exiter.pid(), h.hungry.pid()

			d.signal(sig)
			if err := <-h.exec; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
				t.Errorf("exec under way ends with %v", err)
			}
			h.executing(false)
			h.obey()
			gone(t, exiter)
			gone(t, hungry)
			h.grows(h.lines(h.writer.logFile())+100, h.writer.logFile())
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			if after := d.inventory(t); !slices.Equal(before, after) {
				t.Errorf("pods and containers before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			if now := d.keeperPID(); now != keeper {
				t.Errorf("keeper is %d, was %d", now, keeper)
			}
			h.ended()
			h.works()
			if err := created.tryStart(); err != nil {
				t.Errorf("start of a container that was created before: %v", err)
			}
		})
	}
}

// TestKeeperKilled kills the keeper under a running daemon, which starts over with another one.
func TestKeeperKilled(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	h := newHousehold(t, d)
	before := d.inventory(t)
	old := d.keeperPID()
	sleeping := h.sleeping.pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-h.exec
	h.executing(false)
	await(t, "the daemon has another keeper", func() error {
		if pid := d.keeperPID(); pid == 0 || pid == old {
			return fmt.Errorf("it is %d", pid)
		}
		return nil
	})
	await(t, "the daemon serves", func() error {
		_, err := d.runtime.Version(deadline(t), &runtime.VersionRequest{})
		return err
	})
	if after := d.inventory(t); !slices.Equal(before, after) {
		t.Errorf("pods and containers before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if got := h.sleeping.status().State; got != runtime.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("container is %s", got)
	}
	if got := h.sleeping.pid(); got != sleeping {
		t.Errorf("pid of the container is %d, was %d", got, sleeping)
	}
	h.obey()
	h.ended()
	h.works()
}

// TestBothKilled kills daemon and keeper: the guard has what the keeper held, and the next keeper goes on.
func TestBothKilled(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	h := newHousehold(t, d)
	shared := d.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })).start(sleeper)
	containers := []*ctr{h.writer, h.sleeping, h.user, shared}
	var pids []int
	for _, c := range containers {
		pids = append(pids, c.pid())
	}
	before := d.inventory(t)
	exiter, hungry := h.exiter.pid(), h.hungry.pid()
	keeper := d.keeperPID()
	d.signal(syscall.SIGKILL)
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-h.exec
	h.obey() // nobody is there to see it
	gone(t, exiter)
	gone(t, hungry)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	h.executing(false)
	if after := d.inventory(t); !slices.Equal(before, after) {
		t.Errorf("pods and containers before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	for i, c := range containers {
		if pid := c.pid(); pid != pids[i] {
			t.Errorf("a container has pid %d, had %d", pid, pids[i])
		}
	}
	h.ended()
	h.works()
}

// TestAllKilled kills the guard, too: containers cannot be adopted any more, but must be accounted for.
func TestAllKilled(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	h := newHousehold(t, d)
	shared := d.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })).start(sleeper)
	pids := []int{h.writer.pid(), h.sleeping.pid(), h.user.pid(), shared.pid()}
	keeper, guard := d.keeperPID(), d.guardPID(t)
	d.signal(syscall.SIGKILL)
	for _, pid := range []int{keeper, guard} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	<-h.exec
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
	h.executing(false)
	for _, c := range []*ctr{h.writer, h.exiter, h.hungry, h.sleeping, h.user, shared} {
		if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.ExitCode != 255 || s.Reason != "Unknown" || s.FinishedAt < s.StartedAt {
			t.Errorf("container is %s, exit code %d, reason %q", s.State, s.ExitCode, s.Reason)
		}
	}
	if s := h.status(); s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("pod is %s", s.State)
	}
	for _, c := range []*ctr{h.writer, h.sleeping} {
		if err := c.tryRemove(); err != nil {
			t.Errorf("remove container: %v", err)
		}
	}
	d.runPod(t).start(sleeper)
}

// guardPID is the pid of the keeper's guard.
func (d *daemon) guardPID(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(d.path("state/keeper.guard"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
