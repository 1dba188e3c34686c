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

// shmType marks the pod's shared memory among the mounts: a bind of something without a path.
const shmType = "tare-shm"

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
	volumes := slices.Clone(r.Spec.Mounts)
	slices.SortStableFunc(volumes, func(a, b spec.Mount) int {
		return cmp.Compare(depth(a.ContainerPath), depth(b.ContainerPath))
	})
	for _, m := range volumes {
		if err := checkPlace(m); err != nil {
			return nil, err
		}
		out = append(out, volume(m))
	}
	return out, nil
}

// depth orders mounts so that parents come before what lies below them.
func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// checkPlace refuses what would take the container's own file systems away from it, or hide the
// masks on them (CVE-2019-16884: a volume over /proc).
func checkPlace(m spec.Mount) error {
	dest := path.Clean(m.ContainerPath)
	if dest == "/" || dest == "/proc" || strings.HasPrefix(dest, "/proc/") {
		return fmt.Errorf("mount container_path %q: nothing may be mounted on / or below /proc: %w", m.ContainerPath, errdefs.ErrInvalidArgument)
	}
	if m.Image != "" {
		return fmt.Errorf("mount image %q at %q: image volumes are not supported yet: %w", m.Image, m.ContainerPath, errdefs.ErrNotImplemented)
	}
	return nil
}

func kernelMounts(r Request) []specs.Mount {
	sys := access(!r.Spec.Security.Privileged)
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sys}},
	}
	if r.CgroupV2 {
		out = append(out, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", sys}})
	}
	out = append(out,
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
	slices.Sort(opts[2:])
	return specs.Mount{
		Destination: path.Clean(m.ContainerPath), Type: "bind", Source: m.HostPath, Options: opts,
		UIDMappings: idMappings(m.UID), GIDMappings: idMappings(m.GID),
	}
}
