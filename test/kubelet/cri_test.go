package kubelet

import (
	"context"
	"fmt"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// deadline is the context of one call.
func (p *pod) deadline() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	p.t.Cleanup(cancel)
	return ctx
}

// criStatus is what the runtime says of a container; its id is as the kubelet has it, with the
// runtime's name before it.
func (p *pod) criStatus(id string) *runtime.ContainerStatus {
	p.t.Helper()
	_, id, _ = strings.Cut(id, "://")
	resp, err := node.runtime.ContainerStatus(p.deadline(), &runtime.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.Status
}

// exec runs a command of a container's shell and returns what it prints.
func (p *pod) exec(container, text string) string {
	p.t.Helper()
	_, id, _ := strings.Cut(p.container(container).ContainerID, "://")
	resp, err := node.runtime.ExecSync(p.deadline(), &runtime.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", text}})
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.ExitCode != 0 {
		p.t.Fatalf("%s: exit code %d: %s%s", text, resp.ExitCode, resp.Stdout, resp.Stderr)
	}
	return string(resp.Stdout)
}

// stopped is an error as long as the runtime runs anything of a pod.
func (p *pod) stopped() error {
	labels := map[string]string{"io.kubernetes.pod.name": p.name}
	pods, err := node.runtime.ListPodSandbox(p.deadline(), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: labels}})
	if err != nil {
		return err
	}
	for _, s := range pods.Items {
		if s.State == runtime.PodSandboxState_SANDBOX_READY {
			return fmt.Errorf("pod %s is ready", s.Id)
		}
	}
	containers, err := node.runtime.ListContainers(p.deadline(), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{LabelSelector: labels}})
	if err != nil {
		return err
	}
	for _, c := range containers.Containers {
		if c.State == runtime.ContainerState_CONTAINER_RUNNING {
			return fmt.Errorf("container %s is running", c.Id)
		}
	}
	return nil
}
