package container

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

// Mount types of our own, for what has no path to bind: the pod's shared memory; an image, whose id
// is then the source; and a file system of the kernel, whose type is, that shows a namespace of the host.
const (
	shmType   = "tare-shm"
	imageType = "tare-image"
	hostType  = "tare-host"
)

// mounts lists everything mounted in the container, in the order of mounting.
func mounts(r Request) ([]specs.Mount, error) {
	out := kernelMounts(r)
	for _, f := range podFiles(r) {
		out = append(out, specs.Mount{
			Destination: f.Path, Type: "bind", Source: f.Name,
			Options:     append([]string{"bind", "rprivate"}, access(r.Spec.Security.ReadonlyRootfs)),
			UIDMappings: userMappings(r.Pod, false), GIDMappings: userMappings(r.Pod, true),
		})
	}
	volumes, err := volumes(r)
	if err != nil {
		return nil, err
	}
	for _, m := range editMounts(r) { // whoever describes a device knows better what it needs
		volumes = slices.DeleteFunc(volumes, func(v specs.Mount) bool { return v.Destination == m.Destination })
		volumes = append(volumes, m)
	}
	volumes = takeDev(out, volumes)
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int {
		return cmp.Compare(depth(a.Destination), depth(b.Destination))
	})
	return withLabel(append(out, volumes...), r.SELinux.Mount), nil
}

// takeDev puts a volume that is to be the container's /dev, such as the host's, in the place of the kernel's: what is
// mounted below it comes after it.
func takeDev(kernel, volumes []specs.Mount) []specs.Mount {
	at := func(m specs.Mount) bool { return m.Destination == "/dev" }
	i := slices.IndexFunc(volumes, at)
	if i < 0 {
		return volumes
	}
	kernel[slices.IndexFunc(kernel, at)] = volumes[i]
	return slices.DeleteFunc(volumes, at)
}

// ownDev says whether the container's /dev is its own, to be filled, and not a volume.
func ownDev(oci *specs.Spec) bool {
	return slices.ContainsFunc(oci.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev" && m.Type == "tmpfs" })
}

// volumes are the request's mounts.
func volumes(r Request) ([]specs.Mount, error) {
	volumes := make([]specs.Mount, len(r.Spec.Mounts))
	images := r.Volumes
	for i, m := range r.Spec.Mounts {
		if err := checkPlace(m.ContainerPath); err != nil {
			return nil, fmt.Errorf("mounts[%d].container_path: %w", i, err)
		}
		if err := checkMapping(m, r.Pod); err != nil {
			return nil, fmt.Errorf("mounts[%d].%w", i, err)
		}
		volumes[i] = volume(m)
		if m.Image != "" {
			volumes[i].Type, volumes[i].Source = imageType, string(images[0])
			images = images[1:]
		}
	}
	return volumes, nil
}

// contextOption is the option that labels a whole file system for SELinux, mount(8).
const contextOption = "context"

// withLabel labels the file systems that are the container's alone. The others are the kernel's, which
// labels them itself, or have files with labels of their own.
func withLabel(mounts []specs.Mount, label string) []specs.Mount {
	if label == "" {
		return mounts
	}
	for i, m := range mounts {
		if m.Type == "tmpfs" || m.Type == "devpts" || m.Type == imageType {
			mounts[i].Options = append(m.Options, contextOption+"="+label)
		}
	}
	return mounts
}

// checkMapping refuses id mappings of a volume that are not its pod's: they say that the files belong to
// the container's ids (KEP-127), and there is one user namespace they can be shown to.
func checkMapping(m spec.Mount, pod *spec.Pod) error {
	if len(m.UID) == 0 && len(m.GID) == 0 {
		return nil
	}
	u := pod.Namespaces.User
	if u == nil {
		return fmt.Errorf("uidMappings: the pod has no user namespace: %w", errdefs.ErrInvalidArgument)
	}
	if !slices.Equal(m.UID, []spec.IDMap{u.UID}) || !slices.Equal(m.GID, []spec.IDMap{u.GID}) {
		return fmt.Errorf("uidMappings: they differ from the pod's: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// depth orders mounts so that parents come before what lies below them.
func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// checkPlace refuses what would take the container's own file systems away from it, or hide the
// masks on them (CVE-2019-16884: a volume over /proc).
func checkPlace(place string) error {
	dest := path.Clean(place)
	if dest == "/" || dest == "/proc" || strings.HasPrefix(dest, "/proc/") {
		return fmt.Errorf("%q: nothing may be mounted on / or below /proc: %w", place, errdefs.ErrInvalidArgument)
	}
	return nil
}

// kernelMounts are the file systems of the kernel. One that shows a namespace can be mounted only by
// who has power over that namespace (mount_namespaces(7)): for a pod in a user namespace that uses the host's
// the daemon does.
func kernelMounts(r Request) []specs.Mount {
	out := ownKernelMounts(r)
	if r.Pod.Namespaces.User == nil {
		return out
	}
	foreign := map[string]bool{
		"/proc":       r.Spec.Security.Namespaces.PID == spec.ModeNode,
		"/sys":        r.Pod.Namespaces.Network == spec.ModeNode,
		"/dev/mqueue": r.Pod.Namespaces.IPC == spec.ModeNode,
	}
	for i, m := range out {
		if foreign[m.Destination] {
			out[i].Type, out[i].Source = hostType, m.Type
		}
	}
	return out
}

func ownKernelMounts(r Request) []specs.Mount {
	sys := access(!r.Spec.Security.Privileged)
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sys}},
	}
	cgroups := specs.Mount{Destination: "/sys/fs/cgroup", Type: cgroupType, Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", sys}}
	if r.CgroupV2 {
		cgroups.Type = "cgroup2"
	}
	out = append(out, cgroups,
		specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	)
	if mountedAt(r.Spec.Mounts, "/dev/shm") {
		return out
	}
	shm := specs.Mount{Destination: "/dev/shm", Type: shmType, Options: []string{"nosuid", "noexec", "nodev"}}
	if r.Pod.Namespaces.IPC == spec.ModeNode {
		shm = specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate"}}
	}
	return append(out, shm)
}

func access(readonly bool) string {
	if readonly {
		return "ro"
	}
	return "rw"
}

// volume is one of the request's mounts in the runtime specification's terms.
func volume(m spec.Mount) specs.Mount {
	opts := []string{"rbind"}
	switch m.Propagation {
	case spec.PropagatePrivate:
		opts = append(opts, "rprivate")
	case spec.PropagateHostToContain:
		opts = append(opts, "rslave")
	case spec.PropagateBidirectional:
		opts = append(opts, "rshared")
	}
	if m.RecursiveReadonly {
		opts = append(opts, "rro")
	} else {
		opts = append(opts, access(m.Readonly))
	}
	for opt, on := range map[string]bool{"noexec": m.NoExec, "nodev": m.NoDev, "nosuid": m.NoSUID} {
		if on {
			opts = append(opts, opt)
		}
	}
	if m.Image != "" && m.ImageSubPath != "" {
		opts = append(opts, "subpath="+m.ImageSubPath)
	}
	slices.Sort(opts[2:])
	return specs.Mount{
		Destination: path.Clean(m.ContainerPath), Type: "bind", Source: m.HostPath, Options: opts,
		UIDMappings: idMappings(m.UID), GIDMappings: idMappings(m.GID),
	}
}
