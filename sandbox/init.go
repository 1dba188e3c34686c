package sandbox

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
)

// A PID namespace lives as long as its first process. Where the pod's containers share one, that
// process has to be somebody who outlives each of them: an init of a hundred bytes of code
// (nsutil.PauseFile), without privileges, in an empty root, that never has to do anything. It is the
// only process a pod can cost, and only such pods have it.

const initPrefix = "init/"

// InitKey is the key under which the keeper has a pod's init.
func InitKey(id spec.PodID) string { return initPrefix + string(id) }

// InitOf says whose init the keeper has under a key.
func InitOf(key string) (spec.PodID, bool) {
	id, ok := strings.CutPrefix(key, initPrefix)
	return spec.PodID(id), ok
}

// nobody is the user an init runs as: it owns nothing.
const nobody = 65534

// initOOMScore protects the init, whose end would be the end of all its neighbours.
const initOOMScore = -998

// Host is what a program needs to know of the host.
type Host struct {
	Attach        string // an empty directory, where a root is attached on the way
	OOMScoreFloor int    // the lowest oom_score_adj the keeper may give
}

// StartInit starts the init of the pod's PID namespace and returns its pidfd, which the caller
// closes. It ends, and with it all processes in the namespace, by SIGKILL.
func (s *Sandbox) StartInit(ctx context.Context, k Custody, h Host) (*os.File, error) {
	pause, err := nsutil.PauseFile()
	if err != nil {
		return nil, fmt.Errorf("start init of pod: %w", err)
	}
	defer pause.Close()
	ran, err := k.Run(ctx, keeper.Run{Key: InitKey(s.ID), Program: s.initProgram(pause, h)})
	if err != nil {
		return nil, fmt.Errorf("start init of pod: %w", err)
	}
	closeAll(ran.Given)
	return ran.PidFD, nil
}

// initProgram leaves the init nothing that its neighbours, who see it as process 1, could reach
// through it: /proc/1/root is an empty read-only tmpfs.
func (s *Sandbox) initProgram(pause *os.File, h Host) *nsutil.Program {
	b := nsutil.NewBuilder()
	b.WriteFile("/proc/self/oom_score_adj", fmt.Sprint(max(initOOMScore, h.OOMScoreFloor)))
	b.Chdir(h.Attach)
	for _, kind := range []Kind{User, Net, IPC, UTS} {
		if f := s.Namespaces[kind]; f != nil {
			b.SetNS(b.File(f, "pod"), kind.Flag())
		}
	}
	if s.Namespaces[User] != nil {
		b.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWPID)
		b.Fork()
		b.SetIDs(0, 0, nil)
	} else {
		b.CloneFlags(unix.CLONE_NEWPID)
		b.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP)
	}
	b.SetAttr(nsutil.CWD, "/", nsutil.MountAttr{Propagation: unix.MS_SLAVE, Recursive: true})
	root := b.Mount("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV).FD()
	b.AttachHere(root)
	b.EnterRoot(root)
	b.IgnoreChildren()
	b.NewSession(false)
	b.SessionKeyring()
	b.Umask(0o022)
	b.SetIDs(nobody, nobody, nil)
	b.SetCaps(nsutil.Caps{})
	b.NoNewPrivs()
	b.ExecFile(b.File(pause, "pause"), []string{"pause"}, nil)
	return b.Program()
}
