package nsutil

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stages is where a program notes when it has come how far: for tracing, at two system calls each. A nil *Stages
// notes nothing. It lives in a file without a name, which the child gets and execve(2) closes.
type Stages struct {
	file  *os.File
	names []string
}

// Stage is a part of a program that is through.
type Stage struct {
	Name string
	At   time.Time // of its end
}

// stampSize is the size of a struct timespec, on 64 bits.
const stampSize = 16

// NewStages makes an empty one. The caller closes it.
func NewStages() (*Stages, error) {
	fd, err := unix.MemfdCreate("stages", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return &Stages{file: os.NewFile(uintptr(fd), "stages")}, nil
}

// Close gives up the file.
func (s *Stages) Close() {
	if s != nil {
		s.file.Close()
	}
}

// Stage ends a stage here. Whether noting it succeeds does not matter to the program. The clock is the one that no
// time namespace shifts (time_namespaces(7)).
func (b *Builder) Stage(s *Stages, name string) {
	if s == nil {
		return
	}
	stamp := blobArg(b.reserve(stampSize, 8))
	at := Imm(uint64(len(s.names) * stampSize))
	b.add("clock_gettime", name, unix.SYS_CLOCK_GETTIME, Imm(unix.CLOCK_REALTIME), stamp)
	b.add("pwrite64", name, unix.SYS_PWRITE64, b.File(s.file, "stages").arg, stamp, Imm(stampSize), at).
		orGoOn(unix.EBADF, unix.ENOMEM, unix.EINTR)
	s.names = append(s.names, name)
}

// Past lists the stages that the program has been through.
func (s *Stages) Past() ([]Stage, error) {
	if s == nil {
		return nil, nil
	}
	stamps := make([]byte, len(s.names)*stampSize)
	n, err := unix.Pread(int(s.file.Fd()), stamps, 0)
	if err != nil {
		return nil, os.NewSyscallError("pread", err)
	}
	var past []Stage
	for i := range n / stampSize {
		stamp := stamps[i*stampSize:]
		at := time.Unix(int64(binary.NativeEndian.Uint64(stamp)), int64(binary.NativeEndian.Uint64(stamp[8:])))
		past = append(past, Stage{s.names[i], at})
	}
	return past, nil
}
