package nsutil

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ProbeCloneDetached tries open_tree(2) with OPEN_TREE_CLONE on a mount that is attached nowhere
// (Linux 6.15, kernel commit "fs: allow cloning detached mounts"). A pod's /dev/shm is such a mount, and
// every container gets a clone of it. Tried, because distributions carry the patch back.
var ProbeCloneDetached = sync.OnceValue(func() error {
	m, err := detachedTmpfs()
	if err != nil {
		return err
	}
	defer m.Close()
	clone, err := CloneMountFD(m, false)
	if err != nil {
		return err
	}
	return clone.Close()
})

// ProbeRecursiveReadonly tries mount_setattr(2) with MOUNT_ATTR_RDONLY and AT_RECURSIVE (Linux 5.12),
// which CRI's recursive_read_only needs (KEP-3857). Below the minimum the kernel is never, but
// seccomp profiles of containers that this may run in know it only since libseccomp 2.5.2, and answer EPERM.
var ProbeRecursiveReadonly = sync.OnceValue(func() error {
	m, err := detachedTmpfs()
	if err != nil {
		return err
	}
	defer m.Close()
	return SetMountAttr(m, MountAttr{Set: unix.MOUNT_ATTR_RDONLY, Recursive: true})
})

// ProcPIDNS is the parameter of proc that says whose processes it shows.
const ProcPIDNS = "pidns"

// ProbeProcPIDNS tries whether a proc can be mounted for another PID namespace than one's own (Linux 6.18,
// Documentation/filesystems/proc.rst, "Mount Options").
var ProbeProcPIDNS = sync.OnceValue(func() error {
	own, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	defer own.Close()
	fs, err := FSOpen("proc")
	if err != nil {
		return err
	}
	defer fs.Close()
	return fs.SetFile(ProcPIDNS, own)
})

// ProbeMountOptions tries the attributes that are CRI's mount_options (api.proto, Mount), by the same
// system call.
var ProbeMountOptions = sync.OnceValue(func() error {
	m, err := detachedTmpfs()
	if err != nil {
		return err
	}
	defer m.Close()
	return SetMountAttr(m, MountAttr{Set: unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID})
})
