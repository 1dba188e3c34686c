package server

import (
	"errors"
	"os"

	"tare/keeper/proto"
	"tare/logs"
	"tare/nsutil"
)

func (s *Server) list() proto.Listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l proto.Listing
	for _, p := range s.processes {
		e := proto.Process{Exit: p.Exit, State: p.state}
		if p.out != nil {
			c := p.out.files()
			c.PidFD = p.pidfd
			e.Parts, _ = c.Flatten()
			e.Dropped = p.out.log.Dropped()
		}
		l.Processes = append(l.Processes, e)
	}
	for key := range s.store {
		l.Stored = append(l.Stored, key)
	}
	return l
}

func (s *Server) fetch(key string) (*proto.Packet, *proto.Fault) {
	held, c, f := s.custody(key)
	if f != nil {
		return nil, f
	}
	reply := &proto.Packet{Kind: proto.KindHeld}
	held.Parts, reply.Files = c.Flatten()
	reply.Body = held.Append(nil)
	return reply, nil
}

// forget ends the custody of a process that has exited. One that is not known has been forgotten.
func (s *Server) forget(p *proto.Packet) *proto.Fault {
	key, err := proto.ParseKey(p.Body)
	if err != nil {
		return fault("forget", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	proc := s.processes[string(key)]
	if proc == nil {
		return nil
	}
	if proc.state != proto.Exited {
		return faultf(proto.Precondition, "forget %q: process %d has not exited", key, proc.Pid)
	}
	s.removeLocked(proc)
	return nil
}

// openLog begins to replace a process's log file.
func (s *Server) openLog(sess *session, p *proto.Packet) *proto.Fault {
	key, err := proto.ParseKey(p.Body)
	if err != nil || len(p.Files) != 1 {
		return faultf(proto.Malformed, "open log: one key and one file wanted")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	proc := s.processes[string(key)]
	if proc == nil || proc.state == proto.Launching {
		return faultf(proto.NotFound, "open log: no process %q", key)
	}
	file, id, log := p.Files[0], p.ID, proc.out.log
	p.Files = nil
	go func() { sess.answer(id, reopen(log, file, string(key))) }()
	return nil
}

func reopen(log *logs.Log, file *os.File, key string) *proto.Fault {
	err := log.Reopen(file)
	if errors.Is(err, logs.ErrClosed) {
		return faultf(proto.Precondition, "open log of %q: output has ended, or is not logged", key)
	}
	if err != nil {
		return fault("open log of "+key, err)
	}
	return nil
}

// put stores files in the place of those that were there.
func (s *Server) put(p *proto.Packet) *proto.Fault {
	key, err := proto.ParseKey(p.Body)
	if err != nil {
		return fault("put", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.store[string(key)]
	s.store[string(key)] = p.Files
	s.journal.note(entry{Op: opPut, Key: string(key), FDs: numbers(p.Files)})
	nsutil.CloseAll(old)
	p.Files = nil
	return nil
}

func (s *Server) get(key string) (*proto.Packet, *proto.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.store[key]
	if !ok {
		return nil, faultf(proto.NotFound, "nothing is stored under %q", key)
	}
	reply := &proto.Packet{Kind: proto.KindFiles}
	for _, f := range stored {
		d, err := proto.Duplicate(f)
		if err != nil {
			reply.CloseFiles()
			return nil, fault("get "+key, err)
		}
		reply.Files = append(reply.Files, d)
	}
	return reply, nil
}

// drop closes what is stored under a key, which may be nothing.
func (s *Server) drop(p *proto.Packet) *proto.Fault {
	key, err := proto.ParseKey(p.Body)
	if err != nil {
		return fault("drop", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.note(entry{Op: opDrop, Key: string(key)})
	nsutil.CloseAll(s.store[string(key)])
	delete(s.store, string(key))
	return nil
}
