package nsutil

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Rendezvous lets somebody other than the launcher work on a program's process while that waits: the
// process is known to both ends of a socket, so that nobody has to tell who it is.
type Rendezvous struct {
	Theirs *os.File // a file of the program's, for Builder.Meet

	ours   *os.File // in the runtime's poller: closing it ends a Wait
	closed atomic.Bool
}

// NewRendezvous makes one, for any number of meetings. The caller closes it.
func NewRendezvous() (*Rendezvous, error) {
	ours, theirs, err := statusPair()
	if err != nil {
		return nil, err
	}
	r := &Rendezvous{Theirs: theirs, ours: ours}
	raw, err := ours.SyscallConn()
	if err == nil { // with each message, who sent it: unix(7), SO_PASSCRED
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rendezvous: %w", err), r.Close())
	}
	return r, nil
}

// Wait returns when the program has come to a meeting, with its process, which stays there until GoOn. The
// caller closes the pidfd. Closed meanwhile: os.ErrClosed.
func (r *Rendezvous) Wait() (pid int, pidfd *os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, err := recv(r.ours, make([]byte, 1), oob)
	if err != nil && r.closed.Load() { // whatever os.File's raw connection calls it
		return 0, nil, os.ErrClosed
	}
	if err != nil {
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) == 0 {
		return 0, nil, fmt.Errorf("rendezvous: no credentials: %w", os.NewSyscallError("recvmsg", err))
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil {
		return 0, nil, os.NewSyscallError("recvmsg", err)
	}
	pidfd, err = PidfdOpen(int(cred.Pid))
	return int(cred.Pid), pidfd, err
}

// GoOn ends a meeting.
func (r *Rendezvous) GoOn() error {
	_, err := r.ours.Write([]byte{1})
	return err
}

// Refuse ends all meetings: a program that waits at one, fails.
func (r *Rendezvous) Refuse() error {
	r.closed.Store(true)
	return r.ours.Close()
}

// Close refuses, and closes Theirs, too, which nobody may be launching a program with.
func (r *Rendezvous) Close() error { return errors.Join(r.Refuse(), r.Theirs.Close()) }

// Meet stops the program until GoOn. Theirs is a file of the program.
func (b *Builder) Meet(theirs FD) {
	b.Write(theirs, "1")
	b.add("read", theirs.label+": go on", unix.SYS_READ, theirs.arg, blobArg(b.reserve(8, 8)), Imm(1)).nonzero = true
}
