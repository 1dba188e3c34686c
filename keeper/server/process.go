package server

import (
	"os"
	"time"

	"tare/crash"
	"tare/keeper/proto"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// drainBound is how long the report of an exit waits for the end of the output: somebody else, whom
// the process left behind, may hold the pipe.
const drainBound = 2 * time.Second

// process is one process in custody, guarded by Server.mu. Its states go one way: launching,
// running, exited.
type process struct {
	proto.Exit // Key and Pid from the beginning, the rest when it has exited
	state      proto.State
	serial     uint64   // tells it from all others that were ever in custody
	owner      *session // to whom it is tethered, or nil
	call       uint64   // the owner's request
	pidfd      *os.File // while it runs
	out        *output
}

// reserve takes the key for a process to be launched.
func (s *Server) reserve(key string) (*process, *proto.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replacing {
		return nil, faultf(proto.Precondition, "run %q: the keeper is being replaced", key)
	}
	if s.processes[key] != nil {
		return nil, faultf(proto.Exists, "process %q exists", key)
	}
	s.serial++
	p := &process{Exit: proto.Exit{Key: key}, state: proto.Launching, serial: s.serial}
	s.processes[key] = p
	return p, nil
}

// tether binds a process to a session, as the answer to a request of it.
func (s *Server) tether(p *process, owner *session, call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.owner, p.call = owner, call
}

// remove ends the custody of a process.
func (s *Server) remove(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(p)
}

// removeLocked is remove with mu held.
func (s *Server) removeLocked(p *process) {
	delete(s.processes, p.Key)
	s.journal.note(entry{Op: opForget, Key: p.Key})
	if p.out != nil {
		p.out.close()
	}
}

// started records that a process runs. One whose owner has gone meanwhile is killed.
func (s *Server) started(p *process, pid int, pidfd *os.File, out *output) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Pid, p.pidfd, p.out, p.state = pid, pidfd, out, proto.Running
	s.unwatched++
	s.journal.note(p.entry())
	out.start() // what is copied has an owner an heir knows of
	if p.owner != nil && p.owner.gone {
		s.kill(p)
	}
}

// watched says that the end of a process that was started will be told of.
func (s *Server) watched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwatched--
}

// entry is the process in the journal. Preconditions: mu held.
func (p *process) entry() entry {
	files := p.out.slots()
	files[slotPidFD] = p.pidfd
	e := entry{Op: opRun, Key: p.Key, Pid: p.Pid, Serial: p.serial, Tether: p.owner != nil, FDs: numbers(files[:])}
	if p.state == proto.Exited {
		e.Exit = &p.Exit
	}
	return e
}

// kill ends a running process. Preconditions: mu held.
func (s *Server) kill(p *process) {
	if p.pidfd == nil {
		return
	}
	if err := nsutil.PidfdSignal(p.pidfd, unix.SIGKILL); err != nil {
		s.log.Error("kill process", "key", p.Key, "err", err)
	}
}

// exited records the end of a process and reports it, after its output has ended. A tethered process
// is then forgotten.
func (s *Server) exited(p *process, e proto.Exit) {
	crash.Point("keeper-exit.reaped")
	p.out.await(drainBound)
	crash.Point("keeper-exit.drained")
	e.Key, e.Dropped = p.Key, p.out.log.Dropped()
	s.mu.Lock()
	e.Pid = p.Pid
	p.Exit, p.state = e, proto.Exited
	told := s.audience(p)
	if p.owner != nil {
		s.removeLocked(p)
	} else {
		s.journal.note(entry{Op: opExit, Key: p.Key, Exit: &e})
	}
	p.pidfd.Close()
	p.pidfd = nil
	s.mu.Unlock()
	crash.Point("keeper-exit.booked")
	for _, sess := range told {
		sess.send(&proto.Packet{Kind: proto.KindExited, ID: p.call, Body: e.Append(nil)})
	}
	p.out.finish()
}

// audience is who hears of a process's end. Preconditions: mu held.
func (s *Server) audience(p *process) []*session {
	if p.owner != nil {
		return []*session{p.owner}
	}
	var all []*session
	for sess := range s.sessions {
		if sess.events {
			all = append(all, sess)
		}
	}
	return all
}

// custody returns duplicates of what is held of a process.
func (s *Server) custody(key string) (proto.Held, proto.Custody, *proto.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[key]
	if p == nil || p.state == proto.Launching {
		return proto.Held{}, proto.Custody{}, faultf(proto.NotFound, "no process %q", key)
	}
	c := p.out.files()
	c.PidFD = p.pidfd
	c, err := c.Duplicate()
	if err != nil {
		return proto.Held{}, proto.Custody{}, fault("duplicate files", err)
	}
	return proto.Held{Key: key, Pid: p.Pid}, c, nil
}
