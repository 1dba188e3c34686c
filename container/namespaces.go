package container

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
)

// The namespaces in a specification of ours are those a container does not share with its pod: its own, and, with a path, others'.

// namespaceTypes are what the specification calls the kinds of a pod's namespaces.
var namespaceTypes = []struct {
	kind sandbox.Kind
	name specs.LinuxNamespaceType
}{
	{sandbox.User, specs.UserNamespace}, {sandbox.Net, specs.NetworkNamespace}, {sandbox.IPC, specs.IPCNamespace},
	{sandbox.UTS, specs.UTSNamespace}, {sandbox.Time, specs.TimeNamespace},
}

// namespace is the container's entry of a kind.
func namespace(oci *specs.Spec, name specs.LinuxNamespaceType) (entry specs.LinuxNamespace, ok bool) {
	i := slices.IndexFunc(oci.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == name })
	if i < 0 {
		return specs.LinuxNamespace{}, false
	}
	return oci.Linux.Namespaces[i], true
}

// owns says whether the container has a namespace of its own of this kind.
func owns(oci *specs.Spec, name specs.LinuxNamespaceType) bool {
	entry, ok := namespace(oci, name)
	return ok && entry.Path == ""
}

// Sandbox is the pod's as the container has it: with the namespaces that its specification has paths of in the place of the
// pod's. The caller closes it by release.
func Sandbox(oci *specs.Spec, pod *sandbox.Sandbox) (_ *sandbox.Sandbox, release func(), err error) {
	var opened []*os.File
	release = func() { nsutil.CloseAll(opened) }
	own := *pod
	for _, t := range namespaceTypes {
		entry, ok := namespace(oci, t.name)
		if !ok || entry.Path == "" {
			continue
		}
		f, err := nsutil.OpenNamespace(entry.Path, t.kind.Flag())
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("%s namespace: %w: %w", t.name, err, errdefs.ErrFailedPrecondition)
		}
		if opened == nil {
			own.Namespaces = maps.Clone(pod.Namespaces)
		}
		opened = append(opened, f)
		own.Namespaces[t.kind] = f
	}
	if opened == nil {
		return pod, release, nil
	}
	return &own, release, nil
}

// CheckNamespaces refuses what a container of the pod cannot have of namespaces, and of what is in them. It gives kernel parameters the
// names that all else knows them by.
func CheckNamespaces(oci *specs.Spec, pod *spec.Pod) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, errdefs.ErrFailedPrecondition)...)
	}
	for _, n := range oci.Linux.Namespaces {
		shared := slices.Contains([]specs.LinuxNamespaceType{specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace}, n.Type)
		switch {
		case n.Path != "" && !shared:
			return refuse("namespaces: a container cannot join the %s namespace %s", n.Type, n.Path)
		case n.Path != "" && pod.Namespaces.User != nil:
			return refuse("namespaces: the pod's user namespace has no power over the %s namespace %s", n.Type, n.Path)
		case shared && owns(oci, specs.UserNamespace):
			return refuse("namespaces: an isolated container has its pod's %s namespace", n.Type)
		}
	}
	sysctls := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(oci.Linux.Sysctl)) {
		name, err := spec.Sysctl(key, oci.Linux.Sysctl[key], pod)
		if err != nil {
			return refuse("sysctl %s: %w", key, err)
		}
		for _, t := range namespaceTypes {
			if entry, _ := namespace(oci, t.name); string(t.kind) == spec.SysctlNamespace(name) && entry.Path != "" {
				return refuse("sysctl %s: would change the namespace %s, which is not the container's", key, entry.Path)
			}
		}
		sysctls[name] = oci.Linux.Sysctl[key]
	}
	if len(sysctls) > 0 {
		oci.Linux.Sysctl = sysctls
	}
	if _, other := namespace(oci, specs.NetworkNamespace); len(oci.Linux.NetDevices) > 0 && (pod.Namespaces.Network == spec.ModeNode || other) {
		return refuse("net_devices: the container's network is not the pod's own")
	}
	return nil
}

// ownFlags are those of the container's own namespaces of kinds that others of its pod share.
func ownFlags(oci *specs.Spec) (flags uint64) {
	for _, t := range namespaceTypes[1:] { // nest makes a user namespace
		if owns(oci, t.name) {
			flags |= t.kind.Flag()
		}
	}
	return flags
}

// Devices are the container's network devices, their names on the host and in the container.
func Devices(oci *specs.Spec) map[string]string {
	if len(oci.Linux.NetDevices) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, d := range oci.Linux.NetDevices {
		out[name] = cmp.Or(d.Name, name)
	}
	return out
}
