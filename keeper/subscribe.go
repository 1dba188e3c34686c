package keeper

import (
	"context"
	"errors"
	"os"

	"tare/keeper/proto"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// ErrBehind is the end of a Subscription whose output was not read in time.
var ErrBehind = errors.New("output was not read in time")

// pipeSize is what a subscriber may be behind by, beside a moment's patience of the keeper's: an
// unprivileged user's most, pipe(7).
const pipeSize = 1 << 20

// Subscription is a copy of a process's output from now on. It has to be read all the time: the
// keeper drops who does not keep up.
type Subscription struct {
	Stdout, Stderr *os.File // nil: not asked for. They end with the output, or with the subscription.
	status         *os.File
}

// Subscribe asks for a copy of a process's output; a terminal's is stdout. What is written after it
// has returned is in the copy.
func (c *Client) Subscribe(ctx context.Context, key string, stdout, stderr bool) (_ *Subscription, err error) {
	s := &Subscription{}
	var theirs proto.Custody
	defer theirs.Close()
	var status *os.File
	if s.status, status, err = os.Pipe(); err != nil {
		return nil, err
	}
	defer status.Close()
	if stdout && err == nil {
		s.Stdout, theirs.Stdout, err = wide()
	}
	if stderr && err == nil {
		s.Stderr, theirs.Stderr, err = wide()
	}
	if err == nil {
		parts, files := theirs.Flatten()
		m := proto.Held{Key: key, Parts: parts}
		err = c.do(ctx, "subscribe to "+key, proto.KindSubscribe, m.Append(nil), append([]*os.File{status}, files...)...)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// wide makes a pipe that holds more than others.
func wide() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	raw, err := w.SyscallConn()
	if err != nil {
		return r, w, err
	}
	// A smaller one works as well, as long as its reader is quick.
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	return r, w, nil
}

// Err waits for the end of the subscription: nil if the output has ended, or the keeper is lost;
// else ErrBehind.
func (s *Subscription) Err() error {
	if n, _ := s.status.Read(make([]byte, 1)); n > 0 {
		return ErrBehind
	}
	return nil
}

// Close ends the subscription and closes the files.
func (s *Subscription) Close() {
	nsutil.CloseAll([]*os.File{s.Stdout, s.Stderr, s.status})
}
