package server

import (
	"errors"
	"os"
	"sync/atomic"

	"tare/keeper/proto"
	"tare/logs"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// subscription copies a process's output to somebody who watches it. It ends with the output, or
// when the subscriber closes its end of the status pipe, or with a byte in that pipe, because the
// subscriber did not keep up.
type subscription struct {
	status    *os.File
	followers []*logs.Follower
	live      atomic.Int32 // followers that have not ended, and one for subscribe
}

// subscribe has the output copied before it is answered, so that the client misses nothing of what
// comes after.
func (s *Server) subscribe(p *proto.Packet) *proto.Fault {
	m, err := proto.ParseHeld(p.Body)
	if err != nil {
		return fault("subscribe", err)
	}
	if len(p.Files) == 0 || m.Parts&^(proto.PartStdout|proto.PartStderr) != 0 {
		return faultf(proto.Malformed, "subscribe to %q: files do not fit parts %#x", m.Key, uint8(m.Parts))
	}
	c, err := proto.NewCustody(m.Parts, p.Files[1:])
	if err != nil {
		return fault("subscribe to "+m.Key, err)
	}
	out, f := s.outputOf(m.Key)
	if f != nil {
		return f
	}
	status := p.Files[0]
	p.Files = nil
	if err := out.subscribe(status, c); err != nil {
		return fault("subscribe to "+m.Key, err)
	}
	return nil
}

func (s *Server) outputOf(key string) (*output, *proto.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[key]
	if p == nil || p.state == proto.Launching {
		return nil, faultf(proto.NotFound, "subscribe: no process %q", key)
	}
	return p.out, nil
}

// subscribe takes over the files, also when it fails.
func (o *output) subscribe(status *os.File, c proto.Custody) error {
	defer c.Close() // what was not taken
	status, err := nsutil.Pollable(status)
	if err != nil {
		return err
	}
	sub := &subscription{status: status}
	sub.live.Store(1)
	defer sub.done()
	for i, from := range [][]*logs.Stream{{o.streams[0], o.streams[2]}, {o.streams[1]}} {
		to := []**os.File{&c.Stdout, &c.Stderr}[i]
		for _, stream := range from {
			if stream == nil || *to == nil {
				continue
			}
			f, err := nsutil.Pollable(*to)
			*to = nil
			if err != nil {
				return err
			}
			sub.live.Add(1)
			sub.followers = append(sub.followers, stream.Follow(f, sub.ended))
		}
	}
	go sub.watch()
	return nil
}

func (s *subscription) ended(err error) {
	if errors.Is(err, logs.ErrBehind) {
		// Who does not read this has gone.
		_, _ = s.status.Write([]byte{1})
	}
	s.done()
}

// done closes the status pipe after the last follower's end.
func (s *subscription) done() {
	if s.live.Add(-1) == 0 {
		s.status.Close()
	}
}

// watch waits until the subscriber has gone: a pipe that nobody reads is in error, poll(2). It
// ends with the subscription.
func (s *subscription) watch() {
	raw, err := s.status.SyscallConn()
	if err == nil {
		err = raw.Read(broken)
	}
	if errors.Is(err, os.ErrClosed) {
		return
	}
	for _, f := range s.followers {
		f.Close()
	}
}

func broken(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&unix.POLLERR != 0
}
