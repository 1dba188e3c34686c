package nri

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"tare/spec"
)

// Adjustment is what plugins change in a container that is being created.
type Adjustment struct {
	// Edits are variables, mounts, devices and hooks that are added; where there is one of the name already, it is replaced.
	Edits *cdi.ContainerEdits
	// CDIDevices are added to the request's.
	CDIDevices []string
	// Resources are limits that replace the request's; nil: none.
	Resources *spec.Resources

	raw *adaptation.ContainerAdjustment
	// What is removed and the library leaves out of the adjustment: names of variables, paths of devices.
	goneEnv, goneDevices map[string]bool
}

// newAdjustment refuses what a container here cannot have.
func newAdjustment(raw *adaptation.ContainerAdjustment) (*Adjustment, error) {
	if raw == nil {
		return nil, nil
	}
	if err := unsupported(raw.GetLinux()); err != nil {
		return nil, err
	}
	if err := checkEnv(raw.Env); err != nil {
		return nil, err
	}
	a := &Adjustment{raw: raw, Edits: &cdi.ContainerEdits{}}
	for _, d := range raw.CDIDevices {
		a.CDIDevices = append(a.CDIDevices, d.Name)
	}
	a.addEdits()
	asked := raw.GetLinux().GetResources()
	if asked == nil {
		return a, nil
	}
	var err error
	a.Resources, err = resources(asked)
	return a, err
}

// unsupported names what is not one of the things this runtime can give a single container.
func unsupported(l *adaptation.LinuxContainerAdjustment) error {
	rdt := l.GetRdt() // the library always gives one
	return refused("adjustment", map[string]bool{
		"cgroups_path": l.GetCgroupsPath() != "",
		"namespaces":   slices.ContainsFunc(l.GetNamespaces(), func(n *adaptation.LinuxNamespace) bool { return procKinds[namespaceType(n)] == "" }),
		"rdt":          rdt.GetClosId() != nil || rdt.GetSchemata() != nil || rdt.GetEnableMonitoring() != nil || rdt.GetRemove(),
	})
}

// refused names the fields that are asked for.
func refused(what string, fields map[string]bool) error {
	var asked []string
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if fields[field] {
			asked = append(asked, "linux."+field)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	return fmt.Errorf("%s of %s is not supported", what, strings.Join(asked, ", "))
}

// checkEnv refuses variables whose names are none, environ(7).
func checkEnv(env []*adaptation.KeyValue) error {
	for _, v := range env {
		if name, _ := v.IsMarkedForRemoval(); name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("adjustment of variable %q: the name is empty, or has '=' or a NUL byte", name)
		}
	}
	return nil
}

// addEdits collects what is added.
func (a *Adjustment) addEdits() {
	for _, v := range a.raw.Env {
		if _, removed := v.IsMarkedForRemoval(); !removed {
			a.Edits.Env = append(a.Edits.Env, v.Key+"="+v.Value)
		}
	}
	for _, m := range a.raw.Mounts {
		if _, removed := m.IsMarkedForRemoval(); !removed {
			a.Edits.Mounts = append(a.Edits.Mounts, &cdi.Mount{HostPath: m.Source, ContainerPath: m.Destination, Type: m.Type, Options: m.Options})
		}
	}
	for _, d := range a.raw.GetLinux().GetDevices() {
		if _, removed := d.IsMarkedForRemoval(); removed {
			continue
		}
		node := &cdi.DeviceNode{
			Path: d.Path, Type: d.Type, Major: d.Major, Minor: d.Minor, Permissions: "rwm",
			UID: d.GetUid().Get(), GID: d.GetGid().Get(),
		}
		if mode := d.GetFileMode().Get(); mode != nil {
			node.FileMode = mode
		}
		a.Edits.DeviceNodes = append(a.Edits.DeviceNodes, node)
	}
	for name, d := range a.raw.GetLinux().GetNetDevices() {
		if _, removed := api.IsMarkedForRemoval(name); !removed {
			a.Edits.NetDevices = append(a.Edits.NetDevices, &cdi.LinuxNetDevice{HostInterfaceName: name, Name: cmp.Or(d.GetName(), name)})
		}
	}
	for stage, hooks := range map[string][]*adaptation.Hook{
		"prestart": a.raw.GetHooks().GetPrestart(), "createRuntime": a.raw.GetHooks().GetCreateRuntime(),
		"createContainer": a.raw.GetHooks().GetCreateContainer(), "startContainer": a.raw.GetHooks().GetStartContainer(),
		"poststart": a.raw.GetHooks().GetPoststart(), "poststop": a.raw.GetHooks().GetPoststop(),
	} {
		for _, h := range hooks {
			a.Edits.Hooks = append(a.Edits.Hooks, &cdi.Hook{HookName: stage, Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.GetTimeout().Get()})
		}
	}
}

// Apply makes the changes that are no edits: what is removed or replaced as a whole. The specification is the
// caller's alone.
func (a *Adjustment) Apply(oci *specs.Spec) {
	if len(a.raw.Args) > 0 {
		oci.Process.Args = a.raw.Args
	}
	a.removeEnv(oci.Process)
	a.annotate(oci)
	for _, l := range a.raw.Rlimits {
		set := rlimit(l)
		oci.Process.Rlimits = append(slices.DeleteFunc(oci.Process.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == set.Type }), set)
	}
	if adj := a.raw.GetLinux().GetOomScoreAdj(); adj != nil {
		oci.Process.OOMScoreAdj = new(int(adj.Value))
	}
	oci.Process.IOPriority = a.raw.GetLinux().GetIoPriority().ToOCI()
	oci.Process.Scheduler = a.raw.GetLinux().GetScheduler().ToOCI()
	oci.Linux.MemoryPolicy = a.raw.GetLinux().GetMemoryPolicy().ToOCI()
	a.setNamespaces(oci.Linux)
	a.setSysctls(oci.Linux)
	for name := range a.raw.GetLinux().GetNetDevices() {
		if key, removed := api.IsMarkedForRemoval(name); removed && a.raw.Linux.NetDevices[key] == nil {
			delete(oci.Linux.NetDevices, key)
		}
	}
	oci.Linux.Seccomp = seccompPolicy(a.raw.GetLinux().GetSeccompPolicy())
	gone := removedOf(a.raw.Mounts, func(m *adaptation.Mount) string { return m.Destination })
	oci.Mounts = slices.DeleteFunc(oci.Mounts, func(m specs.Mount) bool { return gone[m.Destination] })
	a.removeDevices(oci.Linux)
}

func (a *Adjustment) removeEnv(p *specs.Process) {
	p.Env = slices.DeleteFunc(p.Env, func(kv string) bool {
		return a.goneEnv[variable(kv)]
	})
}

// missing are the names of what was there before plugins were asked, and is not afterwards.
func missing[B, A any](before []B, nameBefore func(B) string, after []A, nameAfter func(A) string) map[string]bool {
	gone := map[string]bool{}
	for _, e := range before {
		gone[nameBefore(e)] = true
	}
	for _, e := range after {
		delete(gone, nameAfter(e))
	}
	return gone
}

// variable is the name of one.
func variable(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}

// annotate works on a copy: the map is the request's. What is removed and set is replaced: a plugin has no other way to say so.
func (a *Adjustment) annotate(oci *specs.Spec) {
	if len(a.raw.Annotations) == 0 {
		return
	}
	out := maps.Clone(oci.Annotations)
	if out == nil {
		out = map[string]string{}
	}
	for key := range a.raw.Annotations {
		if name, removed := api.IsMarkedForRemoval(key); removed {
			delete(out, name)
		}
	}
	for key, value := range a.raw.Annotations {
		if _, removed := api.IsMarkedForRemoval(key); !removed {
			out[key] = value
		}
	}
	oci.Annotations = out
}

// procKinds are the namespaces that plugins may change, by what the specification calls them, and what /proc/PID/ns does.
var procKinds = map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"}

func namespaceType(n *adaptation.LinuxNamespace) specs.LinuxNamespaceType {
	name, _ := n.IsMarkedForRemoval()
	return specs.LinuxNamespaceType(name)
}

// setNamespaces has the container join the namespaces that there is a path of, have those of its own that there is none of, and be in the
// host's of what is removed.
func (a *Adjustment) setNamespaces(l *specs.Linux) {
	list := a.raw.GetLinux().GetNamespaces()
	gone := removedOf(list, func(n *adaptation.LinuxNamespace) string { return n.Type })
	for _, n := range list {
		entry := specs.LinuxNamespace{Type: namespaceType(n), Path: n.Path}
		if _, removed := n.IsMarkedForRemoval(); removed {
			if !gone[string(entry.Type)] {
				continue
			}
			entry.Path = "/proc/self/ns/" + procKinds[entry.Type]
		}
		l.Namespaces = append(slices.DeleteFunc(l.Namespaces, func(o specs.LinuxNamespace) bool { return o.Type == entry.Type }), entry)
	}
}

// setSysctls has nothing to remove: a container has none of its own.
func (a *Adjustment) setSysctls(l *specs.Linux) {
	for key, value := range a.raw.GetLinux().GetSysctl() {
		if _, removed := api.IsMarkedForRemoval(key); removed {
			continue
		}
		if l.Sysctl == nil {
			l.Sysctl = map[string]string{}
		}
		l.Sysctl[key] = value
	}
}

// removeDevices removes nodes, and the rules by which they could be made again.
func (a *Adjustment) removeDevices(l *specs.Linux) {
	for _, d := range l.Devices {
		if !a.goneDevices[d.Path] || l.Resources == nil {
			continue
		}
		l.Resources.Devices = slices.DeleteFunc(slices.Clone(l.Resources.Devices), func(r specs.LinuxDeviceCgroup) bool {
			return r.Allow && r.Type == d.Type && r.Major != nil && *r.Major == d.Major && r.Minor != nil && *r.Minor == d.Minor
		})
	}
	l.Devices = slices.DeleteFunc(l.Devices, func(d specs.LinuxDevice) bool { return a.goneDevices[d.Path] })
}

// removedOf are the names that are marked for removal and not given anew.
func removedOf[T any](list []T, name func(T) string) map[string]bool {
	gone := map[string]bool{}
	for _, e := range list {
		if key, removed := api.IsMarkedForRemoval(name(e)); removed {
			gone[key] = true
		}
	}
	for _, e := range list {
		delete(gone, name(e))
	}
	return gone
}
