package container

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
)

// An isolated container has a user namespace of its own inside the pod's, which maps all ids of the pod to
// themselves: files stay whose they were, so that root file system and volumes need nothing more than the
// pod's. Its root has power over what belongs to this namespace, the container's mount, cgroup and PID
// namespace, and none over what belongs to the pod's: network, IPC, UTS, and the processes of its neighbours
// (user_namespaces(7), "Interaction of user namespaces and other types of namespaces").

// nest makes the container's user namespace and what belongs to it. What shows a namespace of the pod
// has to be mounted before, while there is power over that: and so in a mount namespace of the pod's, from
// which the mounts, attached nowhere, go along.
func (c *compiler) nest() {
	c.b.Unshare(unix.CLONE_NEWNS)
	c.b.SetIDs(0, 0, nil)
	sandbox.SetSysctls(c.b, c.proc, c.OCI.Linux.Sysctl)
	c.mountKernel(c.showsPod)
	c.b.NestUserNS(nsutil.IDMaps{UID: sameIDs(c.OCI.Linux.UIDMappings), GID: sameIDs(c.OCI.Linux.GIDMappings)}, c.joinPIDs)
	c.ownNamespaces()
}

// showsPod says whether a file system shows a namespace that the container shares.
func (c *compiler) showsPod(fstype string) bool {
	return fstype == "sysfs" || fstype == "mqueue" || fstype == "proc" && !owns(c.OCI, specs.PIDNamespace)
}

// sameIDs maps the ids that the pod's mappings give it to themselves.
func sameIDs(pod []specs.LinuxIDMapping) string {
	var lines string
	for _, m := range pod {
		lines += fmt.Sprintf("%d %[1]d %d\n", m.ContainerID, m.Size)
	}
	return lines
}
