package nsutil

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// PauseFile returns a sealed memfd with the smallest possible executable: it waits for ever. It is what
// holds a PID namespace open that several containers share; a process that ignores SIGCHLD, as an
// execve keeps it, never has to reap (wait(2)), so waiting is all an init needs to do. The caller
// closes the file.
//
// It cannot be read, which makes who executes it undumpable, and a process of the host's user namespace (would_dump,
// fs/exec.c): others of its user may not trace it, nor may root of a user namespace.
func PauseFile() (*os.File, error) {
	f, err := SealedProgram("pause", bytes.NewReader(pauseELF()))
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o111); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// SealedProgram returns an executable in memory that nobody can write to, whoever gets hold of it: memfd_create(2),
// F_ADD_SEALS(2const). The caller closes the file.
func SealedProgram(name string, content io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return nil, err
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}

// pauseELF is an ELF executable (elf(5)) of one segment: the two headers and pauseCode.
func pauseELF() []byte {
	const (
		base    = 0x400000
		headers = 64 + 56
	)
	le := binary.LittleEndian
	size := uint64(headers + len(pauseCode))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // 64-bit, little-endian
	b = le.AppendUint16(b, 2)                                            // e_type: ET_EXEC
	b = le.AppendUint16(b, pauseMachine)                                 // e_machine
	b = le.AppendUint32(b, 1)                                            // e_version
	b = le.AppendUint64(b, base+headers)                                 // e_entry
	b = le.AppendUint64(b, 64)                                           // e_phoff
	b = le.AppendUint64(b, 0)                                            // e_shoff
	b = le.AppendUint32(b, 0)                                            // e_flags
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {                     // e_ehsize, e_phentsize, e_phnum; no sections
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // p_type: PT_LOAD
	b = le.AppendUint32(b, 5) // p_flags: read, execute
	b = le.AppendUint64(b, 0) // p_offset
	b = le.AppendUint64(b, base)
	b = le.AppendUint64(b, base)
	b = le.AppendUint64(b, size)
	b = le.AppendUint64(b, size)
	b = le.AppendUint64(b, 0x1000) // p_align
	return append(b, pauseCode...)
}

// IgnoreChildren makes the kernel reap the process's children by itself (SIGCHLD set to SIG_IGN,
// wait(2)); execve keeps it.
func (b *Builder) IgnoreChildren() {
	act := b.reserve(32, 8) // struct sigaction of the kernel: handler, flags, restorer, mask
	b.putU64(act, 1)        // SIG_IGN
	b.add("rt_sigaction", "SIGCHLD SIG_IGN", unix.SYS_RT_SIGACTION, Imm(uint64(unix.SIGCHLD)), blobArg(act), Imm(0), Imm(8))
}

// ExecPause ends the program by executing PauseFile's, execveat(2), without any descriptor, and with nothing but waiting allowed:
// who may trace it, by CAP_SYS_PTRACE, makes it do no more. Otherwise that would be a way out of a container's cgroup
// and filter. After NoNewPrivs.
func (b *Builder) ExecPause(f FD, argv []string) {
	b.add("close_range", "0- CLOEXEC", unix.SYS_CLOSE_RANGE, Imm(0), Imm(uint64(^uint32(0))), Imm(unix.CLOSE_RANGE_CLOEXEC))
	b.Seccomp(pauseFilter(), 0)
	b.p.Ops[len(b.p.Ops)-1].orGoOn(unix.EINVAL, unix.ENOSYS) // a kernel without CONFIG_SECCOMP_FILTER keeps no container by one
	args, envs := blobArg(b.pointers(argv)), blobArg(b.pointers(nil))
	b.add("execveat", f.label, unix.SYS_EXECVEAT, f.arg, b.str(""), args, envs, Imm(unix.AT_EMPTY_PATH))
}

// pauseFilter refuses (EPERM) all but pauseCode's system call and the execveat(2) before it: an array of struct
// sock_filter, seccomp(2).
func pauseFilter() []byte {
	const (
		load, equal, verdict = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		number, arch         = 0, 4 // offsets in struct seccomp_data
	)
	var filter []byte
	for _, f := range []unix.SockFilter{
		{Code: load, K: arch},
		{Code: equal, K: pauseArch, Jf: 3},
		{Code: load, K: number},
		{Code: equal, K: pauseCall, Jt: 2},
		{Code: equal, K: unix.SYS_EXECVEAT, Jt: 1},
		{Code: verdict, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: verdict, K: unix.SECCOMP_RET_ALLOW},
	} {
		filter = binary.NativeEndian.AppendUint16(filter, f.Code)
		filter = binary.NativeEndian.AppendUint32(append(filter, f.Jt, f.Jf), f.K)
	}
	return filter
}
