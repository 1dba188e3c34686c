package kubelet

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The tests in this file ask the runtime for what a kubelet asks for if it has a cluster.

// add starts another container in a pod, like the one there is but for what change changes, and returns its
// id.
func (p *pod) add(sibling, name string, change func(*runtime.ContainerConfig)) string {
	p.t.Helper()
	_, id, _ := strings.Cut(p.container(sibling).ContainerID, "://")
	like, err := node.runtime.ContainerStatus(p.deadline(), &runtime.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		p.t.Fatal(err)
	}
	pods, err := node.runtime.ListPodSandbox(p.deadline(), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: p.labels()}})
	if err != nil || len(pods.Items) != 1 {
		p.t.Fatalf("sandboxes: %v, %v", pods, err)
	}
	s := pods.Items[0]
	config := &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: name}, Image: like.Status.Image,
		Labels: maps.Clone(like.Status.Labels), Annotations: like.Status.Annotations,
		LogPath: name + ".log", // without one a kubelet removes all files where it works (pkg/kubelet/logs, Clean)
		Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
			NamespaceOptions: &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER},
		}},
	}
	config.Labels["io.kubernetes.container.name"] = name
	change(config)
	made, err := node.runtime.CreateContainer(p.deadline(), &runtime.CreateContainerRequest{
		PodSandboxId: s.Id, Config: config,
		SandboxConfig: &runtime.PodSandboxConfig{Metadata: s.Metadata, Labels: s.Labels, Annotations: s.Annotations},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := node.runtime.StartContainer(p.deadline(), &runtime.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		p.t.Fatal(err)
	}
	return made.ContainerId
}

// TestTarget debugs a container as an ephemeral one does, in its PID namespace. The kubelet does not mind.
func TestTarget(t *testing.T) {
	t.Parallel()
	p := runPod(t, "target", "containers: [{name: c, command: [sleep, '1000003']}]")
	p.ready()
	debugger := p.add("c", "debugger", func(c *runtime.ContainerConfig) {
		c.Command = []string{"sleep", "1000004"}
		_, target, _ := strings.Cut(p.container("c").ContainerID, "://")
		c.Linux.SecurityContext.NamespaceOptions = &runtime.NamespaceOption{Pid: runtime.NamespaceMode_TARGET, TargetId: target}
	})
	if seen := p.execIn(debugger, "ps"); !strings.Contains(seen, "sleep 1000003") {
		t.Errorf("the debugger sees %s", seen)
	}
	if s := p.container("c"); s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the container: %+v", s)
	}
}

// TestRecursiveReadOnly mounts are read-only at what is mounted below them, too.
func TestRecursiveReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	p := runPod(t, "recursive", "containers: [{name: c, command: [sleep, '1000000']}]")
	p.ready()
	id := p.add("c", "reader", func(c *runtime.ContainerConfig) {
		c.Command = []string{"sleep", "1000000"}
		c.Mounts = []*runtime.Mount{
			{HostPath: dir, ContainerPath: "/plain", Readonly: true},
			{HostPath: dir, ContainerPath: "/all", Readonly: true, RecursiveReadOnly: true},
		}
	})
	got := p.execIn(id, "for d in /plain /plain/below /all /all/below; do touch $d/x 2>/dev/null && echo $d; done; true")
	if got != "/plain/below\n" {
		t.Errorf("writable are %q", got)
	}
}
