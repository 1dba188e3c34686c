package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podKinds are the kinds of namespaces that are a pod's; the others are the containers'.
var podKinds = []string{"net", "ipc", "uts"}

// compare checks which namespaces two processes share.
func compare(t *testing.T, what string, a, b map[string]string, shared ...string) {
	t.Helper()
	for kind := range a {
		if same := a[kind] == b[kind]; same != slices.Contains(shared, kind) {
			t.Errorf("%s: %s namespace shared: %v, want %v (%s, %s)", what, kind, same, !same, a[kind], b[kind])
		}
	}
}

func TestNamespacesOfContainers(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	a, b := p.start(sleeper), p.start(sleeper)
	of, other, host := namespaces(t, a.pid()), namespaces(t, b.pid()), namespaces(t, os.Getpid())
	compare(t, "two containers", of, other, append(podKinds, "user")...)
	compare(t, "container and host", of, host, "user")

	q := suite.shared.runPod(t)
	compare(t, "containers of two pods", of, namespaces(t, q.start(sleeper).pid()), "user")
}

func TestNamespacesAreThePods(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	a := p.start(script("echo shared > /dev/shm/file; exec httpd -f -p 8080 -h /dev/shm"))
	b := p.start(sleeper)
	await(t, "the neighbour serves", func() error {
		resp, err := b.tryExec(0, "wget", "-qO", "/dev/null", "http://localhost:8080/file")
		if err == nil && resp.ExitCode != 0 {
			err = fmt.Errorf("wget: %s", resp.Stderr)
		}
		return err
	})
	if got := b.exec("wget -qO- http://localhost:8080/file; cat /dev/shm/file"); got != "shared\nshared\n" {
		t.Errorf("localhost and /dev/shm of the neighbour say %q", got)
	}
	if got := a.exec("hostname"); got != "pod\n" {
		t.Errorf("hostname %q", got)
	}
	queue := strings.TrimSpace(a.exec("ipcmk -Q | grep -o '[0-9]*$'"))
	if got := b.exec("ipcs -q"); !strings.Contains(got, queue) {
		t.Errorf("message queue %s is not the neighbour's: %s", queue, got)
	}
	if entries, err := os.ReadDir("/dev/shm"); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "file" }) {
		t.Errorf("the pod's /dev/shm is the host's: %v %v", entries, err)
	}
}

func TestPIDModes(t *testing.T) {
	host := namespaces(t, os.Getpid())
	mode := func(m runtime.NamespaceMode) podOption {
		return podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = m })
	}
	t.Run("pod", func(t *testing.T) {
		leavesNothing(t, suite.shared)
		p := suite.shared.runPod(t, mode(runtime.NamespaceMode_POD))
		a, b := p.start(sleeper), p.start(sleeper)
		of := namespaces(t, a.pid())
		compare(t, "two containers", of, namespaces(t, b.pid()), append(podKinds, "user", "pid")...)
		compare(t, "container and host", of, host, "user")
		if got := b.exec("ls -a /proc/1/root/ 2>&1 || true"); strings.Contains(got, "bin") {
			t.Errorf("root of the pod's init shows %q", got)
		}
		neighbour := lastField(procStatus(b.pid())["NSpid"])
		if got := strings.Fields(a.exec("readlink /proc/" + neighbour + "/ns/pid; readlink /proc/self/ns/pid")); len(got) != 2 || got[0] != got[1] {
			t.Errorf("a container does not see its neighbour as process %s: namespaces %q", neighbour, got)
		}
		a.stop(0)
		if b.status().State != runtime.ContainerState_CONTAINER_RUNNING {
			t.Error("a container that ends takes its neighbours along")
		}
		again := p.start(sleeper)
		compare(t, "a container started later", namespaces(t, again.pid()), namespaces(t, b.pid()), append(podKinds, "user", "pid")...)
	})
	t.Run("node", func(t *testing.T) {
		leavesNothing(t, suite.shared)
		p := suite.shared.runPod(t, mode(runtime.NamespaceMode_NODE))
		c := p.start(sleeper)
		compare(t, "container and host", namespaces(t, c.pid()), host, "user", "pid")
		if got := c.exec("cat /proc/" + fmtInt(os.Getpid()) + "/comm"); !strings.Contains(filepath.Base(os.Args[0]), strings.TrimSpace(got)) {
			t.Errorf("the host's process is %q, want this one", got)
		}
	})
	t.Run("target", func(t *testing.T) {
		leavesNothing(t, suite.shared)
		p := suite.shared.runPod(t)
		a := p.start(sleeper)
		debug := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Pid, s.NamespaceOptions.TargetId = runtime.NamespaceMode_TARGET, a.id
		}))
		compare(t, "container and target", namespaces(t, debug.pid()), namespaces(t, a.pid()), append(podKinds, "user", "pid")...)
		a.stop(0)
		if s := debug.finish(); s.ExitCode != 137 {
			t.Errorf("exit code %d when the target's PID namespace ended, want 137", s.ExitCode)
		}
	})
}

func TestNodeNetworkAndIPC(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) {
		n.Network, n.Ipc = runtime.NamespaceMode_NODE, runtime.NamespaceMode_NODE
	}), func(c *runtime.PodSandboxConfig) { c.Hostname = "" })
	c := p.start(sleeper)
	compare(t, "container and host", namespaces(t, c.pid()), namespaces(t, os.Getpid()), "net", "uts", "ipc", "user")
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.exec("hostname; cat /etc/hostname"); got != name+"\n"+name+"\n" {
		t.Errorf("hostname %q, want the host's, %q", got, name)
	}
	if entries, err := os.ReadDir(p.path("netns")); err != nil || len(entries) != 0 {
		t.Errorf("network namespaces %v, %v", entries, err)
	}
	if ip := p.ip(); ip != "" {
		t.Errorf("pod on the host's network has the address %s", ip)
	}
}
