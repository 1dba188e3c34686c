package sandbox

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
)

// NewBare makes a mount namespace with nothing of the host's in it: what programs take on the way to a container's own, which is
// copied from where they are. The host's mounts, thousands on a node full of pods, are neither copied then nor in
// sight of what enters a container. Nobody is in it and nothing else holds it, so that it ends when the caller closes it.
func NewBare(ctx context.Context, k Custody) (*os.File, error) {
	made, err := runProgram(ctx, k, keeper.Run{Key: "sandbox/bare", Program: bareProgram(), Tether: true}, 1)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// BareNull is the host's /dev/null in a bare namespace.
const BareNull = "/null"

// bareProgram makes a root of its own with proc and sysfs: in a user namespace the kernel mounts new ones only while there are
// such in sight (mount_too_revealing, fs/namespace.c).
func bareProgram() *nsutil.Program {
	b := nsutil.NewBuilder()
	b.Unshare(unix.CLONE_NEWNS)
	b.SetAttr(nsutil.CWD, "/", nsutil.MountAttr{Propagation: unix.MS_PRIVATE, Recursive: true})
	kernel := map[string]nsutil.Slot{"proc": b.Mount("proc", 0), "sys": b.Mount("sysfs", 0)}
	null := b.CloneHost("/dev/null").FD()
	root := b.Mount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, nsutil.Option{Key: "mode", Value: "755"}).FD()
	b.Chdir("/")
	b.AttachHere(root)
	b.EnterRoot(root)
	for _, name := range []string{"proc", "sys"} {
		b.Mkdir(root, name, 0o755)
		b.AttachAt(kernel[name].FD(), root, name)
	}
	b.Attach(null, b.Place(root, BareNull, true).FD())
	b.SetAttr(root, "", nsutil.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	b.Give("namespace", b.Open("/proc/self/ns/mnt", unix.O_RDONLY))
	b.Exit()
	return b.Program()
}
