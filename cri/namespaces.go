package cri

import (
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

var namespaceModes = map[runtime.NamespaceMode]spec.NamespaceMode{
	runtime.NamespaceMode_POD: spec.ModePod, runtime.NamespaceMode_CONTAINER: spec.ModeContainer,
	runtime.NamespaceMode_NODE: spec.ModeNode, runtime.NamespaceMode_TARGET: spec.ModeTarget,
}

// podNamespaces converts a sandbox's choice of namespaces. None given means POD for all.
func podNamespaces(o *runtime.NamespaceOption, at field) (spec.Namespaces, error) {
	var ns spec.Namespaces
	if o == nil {
		return ns, nil
	}
	ns, err := namespaces(o, at)
	if err != nil {
		return ns, err
	}
	if ns.PID == spec.ModeTarget {
		return ns, at.sub("pid").errorf("mode TARGET is for containers")
	}
	if o.TargetId != "" {
		return ns, at.sub("target_id").errorf("is for containers")
	}
	return ns, nil
}

// namespaces converts what is the same for sandboxes and containers.
func namespaces(o *runtime.NamespaceOption, at field) (ns spec.Namespaces, err error) {
	podOrNode := []spec.NamespaceMode{spec.ModePod, spec.ModeNode}
	if ns.Network, err = namespaceMode(o.Network, at.sub("network"), podOrNode...); err != nil {
		return ns, err
	}
	if ns.IPC, err = namespaceMode(o.Ipc, at.sub("ipc"), podOrNode...); err != nil {
		return ns, err
	}
	all := append(podOrNode, spec.ModeContainer, spec.ModeTarget)
	if ns.PID, err = namespaceMode(o.Pid, at.sub("pid"), all...); err != nil {
		return ns, err
	}
	ns.User, err = userNamespace(o.UsernsOptions, at.sub("userns_options"))
	return ns, err
}

func namespaceMode(m runtime.NamespaceMode, at field, allowed ...spec.NamespaceMode) (spec.NamespaceMode, error) {
	mode, known := namespaceModes[m]
	for _, a := range allowed {
		if known && a == mode {
			return mode, nil
		}
	}
	return 0, at.errorf("mode %s is not supported", m)
}

// containerNamespaces converts a container's choice of namespaces within its pod. None given
// means the pod's. Network, IPC and user namespace cannot differ from the pod's.
func containerNamespaces(o *runtime.NamespaceOption, at field, pod *store.Pod) (spec.Namespaces, error) {
	of := pod.Spec.Namespaces
	if o == nil {
		return of, nil
	}
	ns, err := namespaces(o, at)
	if err != nil {
		return ns, err
	}
	if ns.Network != of.Network {
		return ns, at.sub("network").errorf("mode %s is not the pod sandbox's", o.Network)
	}
	if ns.IPC != of.IPC {
		return ns, at.sub("ipc").errorf("mode %s is not the pod sandbox's", o.Ipc)
	}
	if ns.PID == spec.ModePod && of.PID != spec.ModePod {
		return ns, at.sub("pid").errorf("mode POD, but the pod sandbox has no PID namespace for all")
	}
	if ns.PID == spec.ModeNode && of.PID != spec.ModeNode {
		return ns, at.sub("pid").errorf("mode NODE, but the pod sandbox is not for the host's processes")
	}
	if o.UsernsOptions != nil && !sameUserNamespace(ns.User, of.User) {
		return ns, at.sub("userns_options").errorf("is not the pod sandbox's")
	}
	ns.User = of.User
	ns.Target, err = target(o, at.sub("target_id"), pod)
	return ns, err
}

// target finds the container whose PID namespace another is to join: one of the same pod with a
// PID namespace of its own (api.proto, NamespaceMode TARGET).
func target(o *runtime.NamespaceOption, at field, pod *store.Pod) (spec.ContainerID, error) {
	if o.Pid != runtime.NamespaceMode_TARGET {
		if o.TargetId != "" {
			return "", at.errorf("needs pid mode TARGET")
		}
		return "", nil
	}
	if err := at.required(o.TargetId); err != nil {
		return "", err
	}
	c := pod.Containers[spec.ContainerID(o.TargetId)]
	if c == nil {
		return "", at.errorf("container %q is not in the pod sandbox", o.TargetId)
	}
	if c.Spec.Security.Namespaces.PID != spec.ModeContainer {
		return "", at.errorf("container %q has no PID namespace of its own", o.TargetId)
	}
	return c.ID, nil
}
