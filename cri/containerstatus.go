package cri

import (
	"cmp"
	"context"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
	"tare/store"
)

// ContainerStatus tells of a container.
func (s *Server) ContainerStatus(_ context.Context, r *runtime.ContainerStatusRequest) (*runtime.ContainerStatusResponse, error) {
	_, c, err := s.deps.Store.ResolveContainer(r.ContainerId)
	if err != nil {
		return nil, err
	}
	resp := &runtime.ContainerStatusResponse{Status: wireContainerStatus(c)}
	if r.Verbose {
		resp.Info, err = info("info", containerInfo(c))
	}
	return resp, err
}

// wireContainerStatuses lists a pod's containers, oldest first.
func wireContainerStatuses(p *store.Pod) []*runtime.ContainerStatus {
	var out []*runtime.ContainerStatus
	for _, c := range p.ByAge() {
		out = append(out, wireContainerStatus(c))
	}
	return out
}

func wireContainerStatus(c *store.Container) *runtime.ContainerStatus {
	return &runtime.ContainerStatus{
		Id: string(c.ID), Metadata: wireContainerMetadata(c), State: wireContainerState(c.State),
		CreatedAt: spec.Nanos(c.CreatedAt), StartedAt: spec.Nanos(c.StartedAt), FinishedAt: spec.Nanos(c.FinishedAt),
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		Image: wireContainerImage(c), ImageRef: c.ImageRef, ImageId: string(c.Image),
		Labels: c.Spec.Labels, Annotations: c.Spec.Annotations,
		Mounts: wireMounts(c.Spec.Mounts, c.Volumes), LogPath: c.LogPath,
		Resources:  &runtime.ContainerResources{Linux: wireResources(c.Spec.Resources)},
		User:       &runtime.ContainerUser{Linux: wireUser(c.User)},
		StopSignal: wireSignal(c.StopSignal),
	}
}

func wireContainerMetadata(c *store.Container) *runtime.ContainerMetadata {
	return &runtime.ContainerMetadata{Name: c.Spec.Name, Attempt: c.Spec.Attempt}
}

// wireContainerImage names the image as people know it.
func wireContainerImage(c *store.Container) *runtime.ImageSpec {
	return &runtime.ImageSpec{
		Image: cmp.Or(c.ImageName, c.Spec.Image), UserSpecifiedImage: c.Spec.UserImage,
		Annotations: c.Spec.ImageAnnotations, RuntimeHandler: c.ImageHandler,
	}
}

// wireContainerState shows what a client may do next: one that is starting may not be there yet,
// one being removed is as good as exited.
func wireContainerState(s store.ContainerState) runtime.ContainerState {
	switch s {
	case store.ContainerCreated, store.ContainerStarting:
		return runtime.ContainerState_CONTAINER_CREATED
	case store.ContainerRunning:
		return runtime.ContainerState_CONTAINER_RUNNING
	case store.ContainerExited, store.ContainerRemoving:
		return runtime.ContainerState_CONTAINER_EXITED
	}
	return runtime.ContainerState_CONTAINER_UNKNOWN
}

func wireUser(u store.User) *runtime.LinuxContainerUser {
	out := &runtime.LinuxContainerUser{Uid: int64(u.UID), Gid: int64(u.GID)}
	for _, g := range u.Groups {
		out.SupplementalGroups = append(out.SupplementalGroups, int64(g))
	}
	return out
}

// containerInfo is what a verbose status shows beyond CRI; the keys are those crictl's users know.
func containerInfo(c *store.Container) any {
	return struct {
		SandboxID   string            `json:"sandboxID"`
		State       string            `json:"state"`
		Pid         int               `json:"pid"`
		Namespaces  map[string]uint64 `json:"namespaces,omitempty"`
		CgroupPath  string            `json:"cgroupPath,omitempty"`
		RuntimeSpec *specs.Spec       `json:"runtimeSpec,omitempty"`
	}{string(c.Pod), c.State.String(), c.Pid, c.Namespaces, c.CgroupPath, shown(c.OCI)}
}

// shown is a specification without the values of its variables, some of which are secrets of the cluster's: those who
// read what a tool printed need not be those who may read them.
func shown(oci *specs.Spec) *specs.Spec {
	if oci == nil || oci.Process == nil {
		return oci
	}
	out, process := *oci, *oci.Process
	process.Env = slices.Clone(process.Env)
	for i, variable := range process.Env {
		name, _, _ := strings.Cut(variable, "=")
		process.Env[i] = name + "=…"
	}
	out.Process = &process
	return &out
}
