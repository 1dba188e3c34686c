package server

import (
	"errors"
	"os"
	"syscall"
	"time"

	"tare/crash"
	"tare/keeper/proto"
	"tare/nsutil"
)

// run begins a Run: what is wrong with the request itself is found at once and in order, the launch
// takes a goroutine.
func (s *Server) run(sess *session, p *proto.Packet) *proto.Fault {
	m, err := proto.ParseRun(p.Body)
	if err != nil {
		return fault("run", err)
	}
	prog, n, err := nsutil.Decode(m.Program)
	if err != nil {
		return faultf(proto.Invalid, "run %q: %v", m.Key, err)
	}
	if n > len(p.Files) {
		return faultf(proto.Invalid, "run %q: %d files for a program with %d", m.Key, len(p.Files), n)
	}
	c, err := proto.NewCustody(m.Parts&^(proto.PartConsole|proto.PartPidFD), p.Files[n:])
	if err != nil {
		return faultf(proto.Invalid, "run %q: %v", m.Key, err)
	}
	proc, f := s.reserve(m.Key)
	if f != nil {
		return f
	}
	if m.Tether {
		s.tether(proc, sess, p.ID)
	}
	prog.Files, p.Files = p.Files[:n], nil
	l := launch{sess: sess, id: p.ID, proc: proc, prog: prog, held: c, console: m.Parts&proto.PartConsole != 0}
	go s.launch(&l)
	return nil
}

// launchBound is how long the program of a tethered process may take to its execve. Such are commands in containers,
// whose processes can stop them on the way; without a bound, each would be a goroutine and descriptors of the keeper's.
const launchBound = 30 * time.Second

// launch is a Run on its way.
type launch struct {
	sess    *session
	id      uint64
	proc    *process
	prog    *nsutil.Program
	held    proto.Custody
	console bool
	child   *child // the last process forked
}

// launch runs the program, answers the request, and has the reaper tell of the end.
func (s *Server) launch(l *launch) {
	crash.Point("keeper-run.reserved")
	st, err := s.fork(l)
	crash.Point("keeper-run.forked")
	nsutil.CloseAll(l.prog.Files)
	l.prog = nil
	if err == nil && l.console {
		err = l.takeConsole(st.Given)
	}
	var out *output
	if err == nil {
		out, err = s.newOutput(material{key: l.proc.Key, serial: l.proc.serial, held: l.held})
		l.held = proto.Custody{}
	}
	if err != nil {
		s.abandon(l, st, err)
		return
	}
	// In the books before the answer, which other requests may follow; answered before the exit is
	// looked for, which is reported after it and closes the pidfd.
	s.started(l.proc, st.Pid, st.PidFD, out)
	crash.Point("keeper-run.booked")
	files := append([]*os.File{st.PidFD}, st.Given...)
	held := proto.Held{Key: l.proc.Key, Pid: st.Pid, Parts: proto.PartPidFD}
	l.sess.send(&proto.Packet{Kind: proto.KindRan, ID: l.id, Body: held.Append(nil), Files: files})
	nsutil.CloseAll(st.Given)
	crash.Point("keeper-run.answered")
	s.awaitChild(l.proc, l.child)
	s.watched()
}

// awaitChild has the end of a child reported, and noted at once: its status cannot be had again.
func (s *Server) awaitChild(p *process, c *child) {
	note := func(status syscall.WaitStatus, at time.Time) {
		s.journal.note(entry{Op: opExit, Key: p.Key, Exit: &proto.Exit{Key: p.Key, Pid: c.pid, Status: status, Known: true, Time: at}})
	}
	s.reaper.whenGone(c, note, func(status syscall.WaitStatus, at time.Time) {
		s.exited(p, proto.Exit{Status: status, Known: true, Time: at})
	})
}

// fork launches the program and makes its processes known to the reaper.
func (s *Server) fork(l *launch) (nsutil.Started, error) {
	s.lean.refresh(s.log)
	expected := 1 + l.prog.Forks()
	s.reaper.expect(expected)
	w := nsutil.Watch{Forked: func(pid int) (err error) {
		if l.child, err = s.reaper.register(pid); err == nil {
			expected--
		}
		return err
	}}
	if l.proc.owner != nil { // whoever waits for it does so for a while
		w.Until = time.Now().Add(launchBound)
	}
	st, err := nsutil.Launch(l.prog, w)
	s.reaper.expect(-expected)
	return st, err
}

// takeConsole keeps a duplicate of the first descriptor given.
func (l *launch) takeConsole(given []*os.File) error {
	if len(given) == 0 {
		return errors.New("the program gave no console")
	}
	var err error
	l.held.Console, err = proto.Duplicate(given[0])
	return err
}

// abandon answers a Run that failed. What runs of it is killed.
func (s *Server) abandon(l *launch, st nsutil.Started, err error) {
	if st.PidFD != nil {
		s.kill(&process{Exit: proto.Exit{Key: l.proc.Key}, pidfd: st.PidFD})
		st.PidFD.Close()
	}
	nsutil.CloseAll(st.Given)
	l.held.Close()
	s.remove(l.proc)
	l.sess.answer(l.id, fault("run "+l.proc.Key, err))
}
