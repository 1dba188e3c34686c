package nri

import (
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

	raw  *adaptation.ContainerAdjustment
	gone map[string]bool // names of variables that are removed, which the library leaves out of the adjustment
}

// newAdjustment refuses what a container here cannot have.
func newAdjustment(raw *adaptation.ContainerAdjustment) (*Adjustment, error) {
	if raw == nil {
		return nil, nil
	}
	if err := unsupported(raw.GetLinux()); err != nil {
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
		"cgroups_path":  l.GetCgroupsPath() != "",
		"memory_policy": l.GetMemoryPolicy() != nil,
		"namespaces":    len(l.GetNamespaces()) > 0,
		"net_devices":   len(l.GetNetDevices()) > 0,
		"rdt":           rdt.GetClosId() != nil || rdt.GetSchemata() != nil || rdt.GetEnableMonitoring() != nil || rdt.GetRemove(),
		"sysctl":        len(l.GetSysctl()) > 0,
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
	oci.Linux.Seccomp = seccompPolicy(a.raw.GetLinux().GetSeccompPolicy())
	gone := removedOf(a.raw.Mounts, func(m *adaptation.Mount) string { return m.Destination })
	oci.Mounts = slices.DeleteFunc(oci.Mounts, func(m specs.Mount) bool { return gone[m.Destination] })
	a.removeDevices(oci.Linux)
}

func (a *Adjustment) removeEnv(p *specs.Process) {
	p.Env = slices.DeleteFunc(p.Env, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return a.gone[name]
	})
}

// names are those of variables.
func names(env []string) map[string]bool {
	out := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		out[name] = true
	}
	return out
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

// removeDevices removes nodes, and the rules by which they could be made again.
func (a *Adjustment) removeDevices(l *specs.Linux) {
	gone := removedOf(a.raw.GetLinux().GetDevices(), func(d *adaptation.LinuxDevice) string { return d.Path })
	for _, d := range l.Devices {
		if !gone[d.Path] || l.Resources == nil {
			continue
		}
		l.Resources.Devices = slices.DeleteFunc(slices.Clone(l.Resources.Devices), func(r specs.LinuxDeviceCgroup) bool {
			return r.Allow && r.Type == d.Type && r.Major != nil && *r.Major == d.Major && r.Minor != nil && *r.Minor == d.Minor
		})
	}
	l.Devices = slices.DeleteFunc(l.Devices, func(d specs.LinuxDevice) bool { return gone[d.Path] })
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
