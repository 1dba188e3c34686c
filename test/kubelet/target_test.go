package kubelet

import (
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestTarget debugs a container as an ephemeral one does, in its PID namespace: static pods cannot
// have any, and a kubelet's pod is no different when somebody else adds one.
func TestTarget(t *testing.T) {
	t.Parallel()
	p := runPod(t, "target", "containers: [{name: c, command: [sleep, '1000003']}]")
	p.ready()
	_, target, _ := strings.Cut(p.container("c").ContainerID, "://")
	sandboxes, err := node.runtime.ListPodSandbox(p.deadline(), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: p.labels()}})
	if err != nil || len(sandboxes.Items) != 1 {
		t.Fatalf("sandboxes: %v, %v", sandboxes, err)
	}
	s := sandboxes.Items[0]
	made, err := node.runtime.CreateContainer(p.deadline(), &runtime.CreateContainerRequest{
		PodSandboxId:  s.Id,
		SandboxConfig: &runtime.PodSandboxConfig{Metadata: s.Metadata},
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "debugger"}, Image: &runtime.ImageSpec{Image: busybox}, Command: []string{"sleep", "1000004"},
			LogPath: "debugger.log", // without one a kubelet removes all files where it works (pkg/kubelet/logs, Clean)
			Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Pid: runtime.NamespaceMode_TARGET, TargetId: target},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.runtime.StartContainer(p.deadline(), &runtime.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	seen, err := node.runtime.ExecSync(p.deadline(), &runtime.ExecSyncRequest{ContainerId: made.ContainerId, Cmd: []string{"ps"}})
	if err != nil || !strings.Contains(string(seen.GetStdout()), "sleep 1000003") {
		t.Errorf("the debugger sees %s, %v", seen.GetStdout(), err)
	}
	if s := p.container("c"); s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the container: %+v", s)
	}
}
