package proto

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seals are what a body's file carries: its content is what was sent, and reading it cannot
// fault, memfd_create(2).
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// sealed returns a memory file with this content that cannot change any more.
func sealed(body []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("keeper message", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // MFD_NOEXEC_SEAL: Linux 6.3
		fd, err = unix.MemfdCreate("keeper message", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "message body")
	if _, err := f.Write(body); err != nil {
		f.Close()
		return nil, fmt.Errorf("write message body: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return f, nil
}

// unpackBody replaces the packet's first file by the body it holds.
func (p *Packet) unpackBody() error {
	if len(p.Files) == 0 {
		return fmt.Errorf("%w: body's file is missing", ErrGarbage)
	}
	f := p.Files[0]
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		return fmt.Errorf("%w: body's file is not sealed", ErrGarbage)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat message body: %w", err)
	}
	if info.Size() > bodyMax {
		return fmt.Errorf("%w: body of %d bytes", ErrGarbage, info.Size())
	}
	p.Body = make([]byte, info.Size())
	if _, err := f.ReadAt(p.Body, 0); err != nil && err != io.EOF {
		return fmt.Errorf("read message body: %w", err)
	}
	p.Files = p.Files[1:]
	f.Close()
	return nil
}
