package nsutil

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ProbePidfdExit tries whether a pidfd keeps the exit status of a process that somebody else has
// reaped (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15). Without it, how a container ended is not
// known if the keeper was killed before the container. What a kernel answers for a living process
// does not tell (the bit is unset until the exit), so one is made to end.
var ProbePidfdExit = sync.OnceValue(func() error {
	b := NewBuilder()
	b.Exit()
	p := b.Program()
	var pid int
	st, err := Launch(p, Watch{Forked: func(child int) error { pid = child; return nil }})
	reap(pid)
	if err != nil {
		return p.Explain(err)
	}
	defer st.PidFD.Close()
	_, ok, err := pidfdStatus(st.PidFD)
	if err == nil && !ok {
		err = errors.New("ioctl PIDFD_GET_INFO: the status of a reaped process is not kept")
	}
	return err
})

// ProbePidfdGetfd tries to take a descriptor of another process, this one's parent, pidfd_getfd(2). A keeper takes over what one held that
// was killed. Yama can forbid it to everybody (ptrace_scope 3, Documentation/admin-guide/LSM/Yama.rst).
var ProbePidfdGetfd = sync.OnceValue(func() error {
	parent := os.Getppid()
	if parent == 0 { // in another PID namespace
		return nil
	}
	pidfd, err := PidfdOpen(parent)
	if err != nil {
		return err
	}
	defer pidfd.Close()
	fd, err := unix.PidfdGetfd(int(pidfd.Fd()), 0, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case err == unix.EBADF: // it could have been taken
		return nil
	}
	return os.NewSyscallError("pidfd_getfd", err)
})

// ProbeSeccomp tries to install a filter that allows everything (CONFIG_SECCOMP_FILTER).
var ProbeSeccomp = sync.OnceValue(func() error {
	// BPF_RET|BPF_K with SECCOMP_RET_ALLOW as a struct sock_filter, seccomp(2).
	filter := binary.NativeEndian.AppendUint16(nil, unix.BPF_RET|unix.BPF_K)
	filter = append(filter, 0, 0)
	filter = binary.NativeEndian.AppendUint32(filter, unix.SECCOMP_RET_ALLOW)
	b := NewBuilder()
	b.NoNewPrivs()
	b.Seccomp(filter, 0)
	b.Exit()
	return tryAlone(b.Program())
})

// ProbeOOMScore tries to give a process the lowest oom_score_adj, which takes CAP_SYS_RESOURCE
// (proc_pid_oom_score_adj(5)). That the capability is in our set does not tell: it has to be held
// in the initial user namespace.
var ProbeOOMScore = sync.OnceValue(func() error {
	b := NewBuilder()
	b.WriteFile("/proc/self/oom_score_adj", "-1000")
	b.Exit()
	return tryAlone(b.Program())
})

// ProbeIntoCgroup tries to have a child born in the cgroup v2 at dir (CLONE_INTO_CGROUP, Linux 5.7,
// clone(2)). It depends on where dir is delegated to, so the caller says where to try.
func ProbeIntoCgroup(dir string) error {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := NewBuilder()
	b.IntoCgroup(b.File(f, dir))
	b.Exit()
	return tryAlone(b.Program())
}
