package server

import (
	"errors"
	"os"
	"syscall"
	"time"

	"tare/keeper/proto"
	"tare/nsutil"
)

// adopt takes over a process that another keeper launched, or one that a program of ours left behind: that is our
// child, since we are its subreaper.
func (s *Server) adopt(p *proto.Packet) *proto.Fault {
	m, err := proto.ParseHeld(p.Body)
	if err != nil {
		return fault("adopt", err)
	}
	c, err := proto.NewCustody(m.Parts, p.Files)
	if err != nil || c.PidFD == nil {
		return faultf(proto.Malformed, "adopt %q: files do not fit parts %#x", m.Key, uint8(m.Parts))
	}
	// One that has ended already is welcome: its exit is to be told.
	if pid, err := nsutil.PidfdPid(c.PidFD); !errors.Is(err, syscall.ESRCH) && (err != nil || pid != m.Pid) {
		return faultf(proto.Invalid, "adopt %q: not a pidfd of process %d", m.Key, m.Pid)
	}
	proc, f := s.reserve(m.Key)
	if f != nil {
		return f
	}
	p.Files = nil
	if err := s.takeOver(proc, m.Pid, c); err != nil {
		s.remove(proc)
		return fault("adopt "+m.Key, err)
	}
	return nil
}

// takeOver begins the custody of an adopted process. The files are closed if that fails.
func (s *Server) takeOver(p *process, pid int, c proto.Custody) error {
	mine := s.reaper.claim(pid, c.PidFD)
	watch, err := nsutil.PidfdWatch(c.PidFD)
	if err != nil {
		c.Close()
		return err
	}
	pidfd := c.PidFD
	c.PidFD = nil
	out, err := s.newOutput(material{key: p.Key, serial: p.serial, held: c})
	if err != nil {
		watch.Close()
		pidfd.Close()
		return err
	}
	s.started(p, pid, pidfd, out)
	defer s.watched()
	if mine != nil {
		watch.Close()
		s.awaitChild(p, mine)
		return nil
	}
	go s.awaitAdopted(p, watch)
	return nil
}

// unknownStatus is that of exit code 255.
const unknownStatus = syscall.WaitStatus(255 << 8)

// awaitAdopted ends with the adopted process.
func (s *Server) awaitAdopted(p *process, watch *os.File) {
	defer watch.Close()
	end, err := nsutil.PidfdAwaitExit(watch)
	if err != nil {
		s.log.Error("await adopted process", "key", p.Key, "err", err)
		end.At = time.Now()
	}
	if !end.Known {
		end.Status = unknownStatus
	}
	s.exited(p, proto.Exit{Status: end.Status, Known: end.Known, Time: end.At})
}
