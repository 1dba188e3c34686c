package container

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/utils"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispec "tags.cncf.io/container-device-interface/specs-go"
)

// CDI is where this host describes devices that are more than a node: the Container Device Interface.
//
// The descriptions are read anew for each container that asks for such a device, and by nobody else. A driver
// of dynamic resources writes one right before the container is created, which a watcher may not have seen
// yet; and what was kept could hold the device numbers of before a driver was loaded again. Twenty files, one of them
// with 60 mounts, take 3 ms.
type CDI struct {
	Dirs []string // of *.json and *.yaml files; a later directory's devices replace those of an earlier one
}

// DeviceEdits is what CDI devices change in a container's specification.
type DeviceEdits = cdi.ContainerEdits

// Edits collects what the devices of these names, vendor/class=device, change, in their order.
// ErrNotFound: nobody describes one; ErrFailedPrecondition: descriptions are broken or contradict each
// other, or ask for what this runtime cannot do.
func (c CDI) Edits(devices []string) (*DeviceEdits, error) {
	if len(c.Dirs) == 0 { // to the library: those of its own choice
		return nil, fmt.Errorf("CDI device %s: no directory of descriptions is configured: %w", devices[0], errdefs.ErrNotFound)
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(c.Dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, err
	}
	all, seen := &DeviceEdits{}, map[*cdi.Spec]bool{}
	for _, name := range devices {
		d := cache.GetDevice(name)
		if d == nil {
			return nil, c.missing(cache, name)
		}
		edits := []*cdispec.ContainerEdits{&d.Device.ContainerEdits}
		if of := d.GetSpec(); !seen[of] {
			seen[of] = true
			edits = slices.Insert(edits, 0, &of.Spec.ContainerEdits)
		}
		for _, e := range edits {
			if err := checkEdits(e); err != nil {
				return nil, fmt.Errorf("CDI device %s (%s): %w", name, d.GetSpec().GetPath(), err)
			}
			all.Append(&DeviceEdits{ContainerEdits: e})
		}
	}
	return all, nil
}

// missing says why a device is not known: the description may be there and be bad.
func (c CDI) missing(cache *cdi.Cache, name string) error {
	var bad []error
	for _, dir := range c.Dirs {
		if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, err)
		}
	}
	faults := cache.GetErrors()
	for _, file := range slices.Sorted(maps.Keys(faults)) {
		bad = append(bad, fmt.Errorf("%s: %w", file, errors.Join(faults[file]...)))
	}
	where := strings.Join(c.Dirs, ", ")
	if len(bad) > 0 {
		faults := strings.ReplaceAll(errors.Join(bad...).Error(), "\n", "; ")
		return fmt.Errorf("CDI device %s is not described in %s, of which not all can be used: %s: %w", name, where, faults, errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("CDI device %s is not described in %s: %w", name, where, errdefs.ErrNotFound)
}

// AddEdits returns edits (nil: none) with more that do not come from a description; they are checked as if they did.
func AddEdits(edits *DeviceEdits, more *cdispec.ContainerEdits) (*DeviceEdits, error) {
	if err := checkEdits(more); err != nil {
		return nil, err
	}
	out := &DeviceEdits{}
	if edits != nil {
		out.Append(edits)
	}
	out.Append(&DeviceEdits{ContainerEdits: more})
	return out, nil
}

// checkEdits refuses what cannot be honoured.
func checkEdits(e *cdispec.ContainerEdits) error {
	if e.IntelRdt != nil {
		return fmt.Errorf("intelRdt: resctrl is not supported: %w", errdefs.ErrFailedPrecondition)
	}
	for _, d := range e.NetDevices {
		for _, name := range []string{d.HostInterfaceName, d.Name} {
			if err := utils.ValidateInterfaceName(name); err != nil {
				return fmt.Errorf("network device %q: %s: %w", name, err.Msg, errdefs.ErrFailedPrecondition)
			}
		}
	}
	if err := cdi.ValidateNetDevices(e.NetDevices); err != nil { // two of a name
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	for _, d := range e.DeviceNodes {
		if err := checkEditNode(d); err != nil {
			return fmt.Errorf("device node %w", err)
		}
	}
	for _, h := range e.Hooks {
		if err := checkHooks(&specs.Hooks{Poststop: []specs.Hook{{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout}}}); err != nil {
			return err
		}
	}
	for _, kv := range e.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			name, _, _ := strings.Cut(kv, "=")
			return fmt.Errorf("variable %q has a NUL byte: %w", name, errdefs.ErrFailedPrecondition)
		}
	}
	for _, m := range e.Mounts {
		if err := checkEditMount(editMount(m)); err != nil {
			return fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
	}
	return nil
}

// checkEditNode looks at what is given; the rest is the host's.
func checkEditNode(d *cdispec.DeviceNode) error {
	if !path.IsAbs(d.Path) {
		return fmt.Errorf("%q is not an absolute path: %w", d.Path, errdefs.ErrFailedPrecondition)
	}
	if !slices.Contains([]string{"", "b", "c", "u", "p"}, d.Type) { // config-linux.md
		return fmt.Errorf("%s: type %q is not one of b, c, u and p: %w", d.Path, d.Type, errdefs.ErrFailedPrecondition)
	}
	if d.Type == "" || d.Major == 0 {
		return nil
	}
	_, err := defaultDevice(specs.LinuxDevice{Path: d.Path, Type: d.Type, Major: d.Major, Minor: d.Minor})
	return err
}

// editMount is a mount of a description in the runtime specification's terms. The type of a bind mount
// is whatever, config-linux.md says; here it is "bind".
func editMount(m *cdispec.Mount) specs.Mount {
	out := specs.Mount{Destination: path.Clean(m.ContainerPath), Type: m.Type, Source: m.HostPath, Options: m.Options}
	if m.Type == "" || m.Type == "none" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
		out.Type = "bind"
	}
	return out
}

func checkEditMount(m specs.Mount) error {
	if strings.IndexByte(m.Destination, 0) >= 0 {
		return fmt.Errorf("the path has a NUL byte: %w", errdefs.ErrFailedPrecondition)
	}
	if !path.IsAbs(m.Destination) {
		return fmt.Errorf("not an absolute path: %w", errdefs.ErrFailedPrecondition)
	}
	if err := checkPlace(m.Destination); err != nil {
		return err
	}
	o := parseOptions(m)
	switch {
	case m.Type == "tmpfs" && (o.recursive.Set|o.recursive.Clear != 0 || o.recursive.Propagation&^unix.MS_PRIVATE != 0):
		return fmt.Errorf("a new tmpfs has nothing below it and is private: %w", errdefs.ErrFailedPrecondition)
	case m.Type == "tmpfs":
		return nil
	case m.Type != "bind":
		return fmt.Errorf("type %q is neither bind nor tmpfs: %w", m.Type, errdefs.ErrFailedPrecondition)
	case !path.IsAbs(m.Source):
		return fmt.Errorf("host path %q is not absolute: %w", m.Source, errdefs.ErrFailedPrecondition)
	}
	if _, err := os.Stat(m.Source); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return o.noData()
}

// editMounts are the mounts that the request's CDI devices bring. Who binds files of the host means the
// container to own them as the host does.
func editMounts(r Request) []specs.Mount {
	if r.Edits == nil || r.Edits.ContainerEdits == nil {
		return nil
	}
	var out []specs.Mount
	for _, m := range r.Edits.Mounts {
		mount := editMount(m)
		if mount.Type == "bind" {
			mount.UIDMappings, mount.GIDMappings = userMappings(r.Pod, false), userMappings(r.Pod, true)
		}
		out = append(out, mount)
	}
	return out
}

// edit makes the changes of the request's CDI devices but for their mounts, which have their place in
// the order of all.
func edit(oci *specs.Spec, r Request) error {
	if r.Edits == nil || r.Edits.ContainerEdits == nil {
		return nil
	}
	edits := *r.Edits.ContainerEdits
	edits.Mounts = nil
	if err := (&DeviceEdits{ContainerEdits: &edits}).Apply(oci); err != nil {
		return fmt.Errorf("CDI devices: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	if err := checkHooks(oci.Hooks); err != nil {
		return fmt.Errorf("CDI devices: %w", err)
	}
	for _, d := range oci.Linux.Devices {
		if _, err := defaultDevice(d); err != nil {
			return fmt.Errorf("CDI devices: %w", err)
		}
	}
	// A device with permissions "none" is one to see, not to open; a rule without any would mean all.
	rules := &oci.Linux.Resources.Devices
	*rules = slices.DeleteFunc(slices.Clone(*rules), func(l specs.LinuxDeviceCgroup) bool { return l.Access == "" })
	return nil
}
