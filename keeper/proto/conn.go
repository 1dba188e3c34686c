package proto

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// inlineMax is the longest body that travels in the datagram itself; a container's program
	// mostly fits.
	inlineMax = 48 << 10
	// bodyMax is the longest body at all.
	bodyMax = 16 << 20
	// MaxFiles is how many files one packet carries. The kernel's limit is 253 (SCM_MAX_FD,
	// unix(7)), and one may be the body.
	MaxFiles = 252

	headerSize = 2 + 2 + 8
	// bodyInFile is the header flag of a packet whose body is its first file.
	bodyInFile = 1
)

// Packet is one message. Who receives it owns its files.
type Packet struct {
	Kind  Kind
	ID    uint64
	Body  []byte
	Files []*os.File
	// Lost says that files came with the packet for which the receiver had no descriptors left (EMFILE). There are
	// none then, and no body if it was among them.
	Lost bool
}

// CloseFiles closes the packet's files.
func (p *Packet) CloseFiles() { closeAll(p.Files) }

// closeAll is nsutil.CloseAll, of which this package, which imports nothing of the module, keeps its own.
func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// Conn carries packets over a connected socket.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
	in   []byte // receive buffer: Recv's
	oob  []byte

	mu  sync.Mutex // guards out and the order of packets
	out []byte
}

// NewConn takes over a connected SOCK_SEQPACKET socket.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "keeper socket")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("poll keeper socket: %w", err)
	}
	return &Conn{
		file: f, raw: raw,
		in:  make([]byte, headerSize+inlineMax),
		oob: make([]byte, unix.CmsgSpace(4*(MaxFiles+1))),
	}, nil
}

// Close ends the connection; a Recv that waits returns.
func (c *Conn) Close() error { return c.file.Close() }

// HangUp is Close for a peer that is to read all it was sent: a socket that is closed with unread packets in it fails the peer's
// next receive with ECONNRESET instead (unix_release_sock, net/unix/af_unix.c). What the peer has sent meanwhile is lost.
func (c *Conn) HangUp() {
	_ = c.raw.Control(func(fd uintptr) { // fails for a connection that is closed
		_ = unix.Shutdown(int(fd), unix.SHUT_RD) // from now on nothing comes
		var b [1]byte
		for {
			if n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); n == 0 || err != nil && err != unix.EINTR {
				return
			}
		}
	})
	c.Close()
}

// Send sends one packet, whose files stay the caller's. It waits for room in the socket until the
// deadline (zero: for ever). A packet is sent whole or not at all.
func (c *Conn) Send(p *Packet, deadline time.Time) error {
	if len(p.Files) > MaxFiles || len(p.Body) > bodyMax {
		return fmt.Errorf("send: %w: %d files, %d bytes", ErrGarbage, len(p.Files), len(p.Body))
	}
	body, files, flags := p.Body, p.Files, uint16(0)
	if len(body) > inlineMax {
		mem, err := sealed(body)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		defer mem.Close()
		body, files, flags = nil, append([]*os.File{mem}, files...), bodyInFile
	}
	oob, err := rights(files)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = binary.NativeEndian.AppendUint16(c.out[:0], uint16(p.Kind))
	c.out = binary.NativeEndian.AppendUint16(c.out, flags)
	c.out = append(binary.NativeEndian.AppendUint64(c.out, p.ID), body...)
	if err := c.file.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	err = c.sendmsg(c.out, oob)
	runtime.KeepAlive(files)
	return err
}

// PeerGone says whether the other end is closed; packets of it may still be waiting.
func (c *Conn) PeerGone() (gone bool) {
	err := c.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n == 1 && p[0].Revents&unix.POLLHUP != 0
	})
	return gone || err != nil
}

func (c *Conn) sendmsg(data, oob []byte) error {
	var err error
	perr := c.raw.Write(func(fd uintptr) bool {
		for {
			_, err = unix.SendmsgN(int(fd), data, oob, nil, unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil {
		return fmt.Errorf("send: %w", perr)
	}
	return os.NewSyscallError("sendmsg", err)
}

// rights is the control message that passes files, cmsg(3).
func rights(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, len(files))
	for i, f := range files {
		// Not Fd(): that would make a pipe blocking for everybody who shares it.
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	return unix.UnixRights(fds...), nil
}

// Recv waits for the next packet. Its Body is good until the next Recv; its files are the
// caller's. io.EOF: the peer is gone. After any error the connection is of no more use.
func (c *Conn) Recv() (*Packet, error) {
	n, files, lost, err := c.recvmsg()
	if err != nil {
		closeAll(files)
		return nil, err
	}
	if n < headerSize {
		closeAll(files)
		return nil, fmt.Errorf("receive: %w: header is cut", ErrGarbage)
	}
	p := &Packet{
		Kind: Kind(binary.NativeEndian.Uint16(c.in)),
		ID:   binary.NativeEndian.Uint64(c.in[4:]),
		Body: c.in[headerSize:n], Files: files, Lost: lost,
	}
	if lost {
		p.CloseFiles()
		p.Files = nil
		return p, nil
	}
	if flags := binary.NativeEndian.Uint16(c.in[2:]); flags&bodyInFile != 0 {
		if err := p.unpackBody(); err != nil {
			p.CloseFiles()
			return nil, fmt.Errorf("receive: %w", err)
		}
	}
	return p, nil
}

func (c *Conn) recvmsg() (n int, files []*os.File, lost bool, err error) {
	var oobn, flags int
	perr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), c.in, c.oob, unix.MSG_CMSG_CLOEXEC)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil { // without a deadline, only closing ends the waiting
		return 0, nil, false, fmt.Errorf("receive: %w", os.ErrClosed)
	}
	if err != nil {
		return 0, nil, false, os.NewSyscallError("recvmsg", err)
	}
	files, err = received(c.oob[:oobn])
	switch {
	case err != nil:
		return 0, files, false, err
	case flags&unix.MSG_TRUNC != 0:
		return 0, files, false, fmt.Errorf("receive: %w: truncated (flags %#x)", ErrGarbage, flags)
	case n == 0:
		return 0, files, false, io.EOF
	}
	// unix(7), SCM_RIGHTS: what exceeds the limit is closed, and the control data truncated.
	return n, files, flags&unix.MSG_CTRUNC != 0, nil
}

func received(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive: %w: control message", ErrGarbage)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials, which nobody asked for
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}
