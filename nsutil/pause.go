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
func PauseFile() (*os.File, error) { return SealedProgram("pause", bytes.NewReader(pauseELF())) }

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

// ExecFile ends the program by executing an open file, execveat(2), without any descriptor.
func (b *Builder) ExecFile(f FD, argv, env []string) {
	b.add("close_range", "0- CLOEXEC", unix.SYS_CLOSE_RANGE, Imm(0), Imm(uint64(^uint32(0))), Imm(unix.CLOSE_RANGE_CLOEXEC))
	args, envs := blobArg(b.pointers(argv)), blobArg(b.pointers(env))
	b.add("execveat", f.label, unix.SYS_EXECVEAT, f.arg, b.str(""), args, envs, Imm(unix.AT_EMPTY_PATH))
}
