package cri

import (
	"context"
	"net/netip"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
	"tare/trace"
)

// PodSandboxStatus tells of a pod sandbox and its containers as they are in one record.
func (s *Server) PodSandboxStatus(_ context.Context, r *runtime.PodSandboxStatusRequest) (*runtime.PodSandboxStatusResponse, error) {
	now := time.Now() // before the record is read: what happens later is newer than the answer
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	resp := &runtime.PodSandboxStatusResponse{
		Status: wirePodStatus(p), ContainersStatuses: wireContainerStatuses(p), Timestamp: now.UnixNano(),
	}
	if r.Verbose {
		resp.Info, err = info("info", podInfo(p, s.operations(p)))
	}
	return resp, err
}

func wirePodStatus(p *store.Pod) *runtime.PodSandboxStatus {
	return &runtime.PodSandboxStatus{
		Id: string(p.ID), Metadata: wirePodMetadata(&p.Spec), State: wirePodState(p.State),
		CreatedAt: p.CreatedAt.UnixNano(), Network: wireNetwork(p.IPs),
		Linux: &runtime.LinuxPodSandboxStatus{
			Namespaces: &runtime.Namespace{Options: wireNamespaces(p.Spec.Namespaces)},
		},
		Labels: p.Spec.Labels, Annotations: p.Spec.Annotations, RuntimeHandler: p.Spec.Handler,
	}
}

func wirePodMetadata(p *spec.Pod) *runtime.PodSandboxMetadata {
	return &runtime.PodSandboxMetadata{Name: p.Name, Uid: p.UID, Namespace: p.Namespace, Attempt: p.Attempt}
}

// wirePodState shows a sandbox as ready only while containers can be made in it.
func wirePodState(s store.PodState) runtime.PodSandboxState {
	switch s {
	case store.PodReady:
		return runtime.PodSandboxState_SANDBOX_READY
	default:
		return runtime.PodSandboxState_SANDBOX_NOTREADY
	}
}

func wireNetwork(ips []netip.Addr) *runtime.PodSandboxNetworkStatus {
	n := &runtime.PodSandboxNetworkStatus{}
	for i, ip := range ips {
		if i == 0 {
			n.Ip = ip.String()
			continue
		}
		n.AdditionalIps = append(n.AdditionalIps, &runtime.PodIP{Ip: ip.String()})
	}
	return n
}

// wireNamespaces is namespaces backwards.
func wireNamespaces(ns spec.Namespaces) *runtime.NamespaceOption {
	modes := make(map[spec.NamespaceMode]runtime.NamespaceMode, len(namespaceModes))
	for wire, mode := range namespaceModes {
		modes[mode] = wire
	}
	user := &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE}
	if u := ns.User; u != nil {
		user = &runtime.UserNamespace{
			Mode: runtime.NamespaceMode_POD,
			Uids: wireIDMaps([]spec.IDMap{u.UID}), Gids: wireIDMaps([]spec.IDMap{u.GID}),
		}
	}
	return &runtime.NamespaceOption{
		Network: modes[ns.Network], Pid: modes[ns.PID], Ipc: modes[ns.IPC], TargetId: string(ns.Target), UsernsOptions: user,
	}
}

// podInfo is what a verbose status shows beyond CRI. What UpdatePodSandboxResources changes, it shows under containerd's names.
func podInfo(p *store.Pod, operations []trace.Tree) any {
	limits := func(r *spec.Resources) *runtime.ContainerResources {
		if r == nil {
			return nil
		}
		return &runtime.ContainerResources{Linux: wireResources(r)}
	}
	return struct {
		State          string            `json:"state"`
		RuntimeHandler string            `json:"runtimeHandler"`
		NetNS          string            `json:"netns,omitempty"`
		Namespaces     map[string]uint64 `json:"namespaces,omitempty"`
		CgroupPath     string            `json:"cgroupPath,omitempty"`
		Config         spec.Pod          `json:"config"`

		Overhead  *runtime.ContainerResources `json:"overhead,omitempty"`
		Resources *runtime.ContainerResources `json:"resources,omitempty"`

		Operations []trace.Tree `json:"operations,omitempty"` // where their time went, if they are traced
	}{p.State.String(), p.Handler, p.NetNS, p.Namespaces, p.CgroupPath, p.Spec, limits(p.Spec.Overhead), limits(p.Spec.Resources), operations}
}
