package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare/crash"
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

// initName is an init's argv[0]; argv[1] is the pod's id.
const initName = "pause"

// EndLostInits kills the inits of these pods that nobody has a descriptor of, because keeper and
// daemon were killed both. An init is known by its name and by its executable, which is on no file
// system.
func EndLostInits(pods map[spec.PodID]bool) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !isInitOf(dir, pods) {
			continue
		}
		errs = append(errs, endInit(pid, dir, pods))
	}
	return errors.Join(errs...)
}

func isInitOf(dir string, pods map[spec.PodID]bool) bool {
	args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false // it has ended
	}
	id, isInit := strings.CutPrefix(strings.TrimSuffix(string(args), "\x00"), initName+"\x00")
	if !isInit || !pods[spec.PodID(id)] {
		return false
	}
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	return err == nil && strings.HasPrefix(exe, "/memfd:")
}

// endInit looks again when it has a handle: the pid may have become another process's.
func endInit(pid int, dir string, pods map[spec.PodID]bool) error {
	pidfd, err := nsutil.PidfdOpen(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end init of lost pod: %w", err)
	}
	defer pidfd.Close()
	if !isInitOf(dir, pods) {
		return nil
	}
	return nsutil.PidfdSignal(pidfd, unix.SIGKILL)
}

// nobody is the user an init runs as: it owns nothing.
const nobody = 65534

// initOOMScore protects the init, whose end would be the end of all its neighbours.
const initOOMScore = -998

// Host is what a program needs to know of the host.
type Host struct {
	Mounts        *os.File // a bare mount namespace (NewBare)
	OOMScoreFloor int      // the lowest oom_score_adj the keeper may give
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
	crash.Point("container-start.init-started")
	nsutil.CloseAll(ran.Given)
	return ran.PidFD, nil
}

// initProgram leaves the init nothing that its neighbours, who see it as process 1, could reach
// through it: /proc/1/root is an empty read-only tmpfs, and it can do nothing but wait.
func (s *Sandbox) initProgram(pause *os.File, h Host) *nsutil.Program {
	b := nsutil.NewBuilder()
	b.WriteFile("/proc/self/oom_score_adj", fmt.Sprint(max(initOOMScore, h.OOMScoreFloor)))
	b.SetNS(b.File(h.Mounts, "bare"), unix.CLONE_NEWNS)
	for _, kind := range []Kind{User, Net, IPC, UTS, Time} {
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
	b.ExecPause(b.File(pause, "pause"), []string{initName, string(s.ID)})
	return b.Program()
}
