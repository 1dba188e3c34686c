package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// deadline is the context of one call.
func (p *pod) deadline() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout())
	p.t.Cleanup(cancel)
	return ctx
}

// exit removes a pod and returns what the runtime said of a container when it ended.
func (p *pod) exit(container string) *runtime.ContainerStatus {
	p.t.Helper()
	id := p.id(container)
	events, err := node.runtime.GetContainerEvents(p.deadline(), &runtime.GetEventsRequest{})
	if err == nil {
		_, err = events.Header() // from now on, none is missed
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.remove()
	for {
		e, err := events.Recv()
		if err != nil {
			p.t.Fatal(err)
		}
		if e.ContainerId != id || e.ContainerEventType != runtime.ContainerEventType_CONTAINER_STOPPED_EVENT {
			continue
		}
		for _, s := range e.ContainersStatuses {
			if s.Id == id {
				return s
			}
		}
		p.t.Fatal("the event has no status of the container")
	}
}

// exec runs a command of a container's shell and returns what it prints.
func (p *pod) exec(container, text string) string {
	p.t.Helper()
	resp, err := node.runtime.ExecSync(p.deadline(), &runtime.ExecSyncRequest{ContainerId: p.id(container), Cmd: []string{"sh", "-c", text}})
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.ExitCode != 0 {
		p.t.Fatalf("%s: exit code %d: %s%s", text, resp.ExitCode, resp.Stdout, resp.Stderr)
	}
	return string(resp.Stdout)
}

// id is by what the runtime knows a container; the kubelet puts the runtime's name before it.
func (p *pod) id(container string) string {
	p.t.Helper()
	_, id, _ := strings.Cut(p.container(container).ContainerID, "://")
	return id
}

// pidNamespace is the inode of the one in which a container's first process is.
func (p *pod) pidNamespace(container string) uint64 {
	p.t.Helper()
	resp, err := node.runtime.ContainerStatus(p.deadline(), &runtime.ContainerStatusRequest{ContainerId: p.id(container), Verbose: true})
	if err != nil {
		p.t.Fatal(err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil {
		p.t.Fatal(err)
	}
	var namespace unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", info.Pid), &namespace); err != nil {
		p.t.Fatal(err)
	}
	return namespace.Ino
}

// labels are those by which the runtime knows a pod's objects.
func (p *pod) labels() map[string]string { return map[string]string{"io.kubernetes.pod.name": p.name} }

// stopped is an error as long as the runtime runs anything of a pod.
func (p *pod) stopped() error {
	pods, err := node.runtime.ListPodSandbox(p.deadline(), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: p.labels()}})
	if err != nil {
		return err
	}
	for _, s := range pods.Items {
		if s.State == runtime.PodSandboxState_SANDBOX_READY {
			return fmt.Errorf("pod %s is ready", s.Id)
		}
	}
	containers, err := node.runtime.ListContainers(p.deadline(), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{LabelSelector: p.labels()}})
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
