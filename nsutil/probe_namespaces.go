package nsutil

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// probeIDs is a mapping that no pod has.
const probeIDs = "0 2000000000 65536\n"

// sameIDs maps all ids of probeIDs to themselves.
const sameIDs = "0 0 65536\n"

// ProbeUserNS tries to make a user namespace with a mapping written from outside. Hosts forbid it by
// user.max_user_namespaces = 0 (namespaces(7)), by security modules, or by seccomp.
var ProbeUserNS = sync.OnceValue(func() error {
	ns, err := NewUserNS()
	if err != nil {
		return err
	}
	return ns.Close()
})

// NewUserNS makes a user namespace that nobody is in, which maps 65536 ids. The caller closes it,
// and it is gone.
func NewUserNS() (*os.File, error) {
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWUSER)
	b.AwaitMaps(IDMaps{UID: probeIDs, GID: probeIDs})
	b.Give("namespace", b.Open("/proc/self/ns/user", unix.O_RDONLY))
	b.Exit()
	return runOne(b.Program())
}

// NewNetNS makes a network namespace that nobody is in. The caller closes it, and it is gone with
// all that was made in it.
func NewNetNS() (*os.File, error) {
	b := NewBuilder()
	b.CloneFlags(unix.CLONE_NEWNET)
	b.Give("namespace", b.Open("/proc/self/ns/net", unix.O_RDONLY))
	b.Exit()
	return runOne(b.Program())
}

// ProbeTimeNS tries to make a time namespace (Linux 5.6, CONFIG_TIME_NS; time_namespaces(7)) and to
// move its monotonic clock.
var ProbeTimeNS = sync.OnceValue(func() error {
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWTIME)
	b.WriteFile("/proc/self/timens_offsets", "monotonic 1 0\n")
	b.Exit()
	return tryAlone(b.Program())
})

// ProbeNestedUserNS tries to make a user namespace inside another. Namespaces nest up to 32 levels
// deep, and each level has a limit on how many there are (user_namespaces(7), namespaces(7)).
var ProbeNestedUserNS = sync.OnceValue(func() error {
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWUSER)
	b.AwaitMaps(IDMaps{UID: probeIDs, GID: probeIDs})
	b.SetIDs(0, 0, nil)
	b.NestUserNS(IDMaps{UID: sameIDs, GID: sameIDs}, func() {})
	b.Exit()
	return tryAlone(b.Program())
})

// ProbeUserNSHostNetwork tries what a pod with a user namespace takes on the host's network: sysfs, which shows
// that network and can be mounted by its owner only (mount_namespaces(7)), is mounted outside and
// attached inside.
var ProbeUserNSHostNetwork = sync.OnceValue(func() error {
	fs, err := FSOpen("sysfs")
	if err != nil {
		return err
	}
	defer fs.Close()
	sys, err := fs.Mount(unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	defer sys.Close()
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWUSER)
	b.AwaitMaps(IDMaps{UID: probeIDs, GID: probeIDs})
	b.SetIDs(0, 0, nil)
	b.Unshare(unix.CLONE_NEWNS)
	b.SetAttr(CWD, "/", MountAttr{Propagation: unix.MS_SLAVE, Recursive: true})
	b.Chdir("/sys")
	b.AttachHere(b.File(sys, "sysfs"))
	b.Exit()
	return tryAlone(b.Program())
})
