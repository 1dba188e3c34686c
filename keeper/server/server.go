package server

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"tare/keeper/proto"
	"tare/logs"
)

// acceptPause is waited after a failed accept(2): with no descriptor left (EMFILE), trying again at
// once would only burn time.
const acceptPause = 100 * time.Millisecond

// Server has custody of processes, their output, and files.
type Server struct {
	log     *slog.Logger
	pid     int
	reaper  *reaper
	stopped chan struct{}
	lean    leanness
	spool   *logs.Spool
	journal *journal
	guard   guard

	mu        sync.Mutex
	processes map[string]*process
	store     map[string][]*os.File
	sessions  map[*session]bool
	serial    uint64 // of processes
	stopping  bool
	unwatched int  // processes that have started and whose end nobody is told of yet
	replacing bool // by another program: nothing new is begun

	listener *Listener
	program  func() string // digest of what this process executes
}

// New returns a server. It holds nothing: see Inherit.
func New(log *slog.Logger) (*Server, error) {
	j, err := newJournal(log)
	if err != nil {
		return nil, err
	}
	return &Server{
		log: log, pid: os.Getpid(), reaper: newReaper(), stopped: make(chan struct{}), journal: j,
		spool: logs.NewSpool(func(fd int, made bool) {
			op := opUnmake
			if made {
				op = opBuffer
			}
			j.note(entry{Op: op, FDs: []int{fd}})
		}),
		program:   sync.OnceValue(func() string { return ownDigest(log) }),
		processes: map[string]*process{}, store: map[string][]*os.File{}, sessions: map[*session]bool{},
	}, nil
}

// Serve answers clients until a Stop request or an error. What runs goes on running. From now on it reaps the children of this
// process: all of them, so that nothing else in it may wait for children.
func (s *Server) Serve(l *Listener) error {
	go s.reaper.run()
	failed := make(chan error, 1)
	go func() { failed <- s.accept(l) }()
	select {
	case err := <-failed:
		return err
	case <-s.stopped:
		l.Close()
		<-failed
		s.disconnect()
		s.guard.end()
		return nil
	}
}

// disconnect ends all sessions.
func (s *Server) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions {
		sess.conn.HangUp()
	}
}

// accept ends when the listener is closed.
func (s *Server) accept(l *Listener) error {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, os.ErrClosed):
			return err
		case errors.Is(err, os.ErrPermission):
			s.log.Warn("refuse client", "err", err)
		case err != nil:
			s.log.Error("accept client", "err", err)
			time.Sleep(acceptPause)
		default:
			go s.serve(conn)
		}
	}
}

// stop says whether the server may end: not while processes run. By force, these are killed.
func (s *Server) stop(p *proto.Packet) *proto.Fault {
	m, err := proto.ParseStop(p.Body)
	if err != nil {
		return fault("stop", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	live := 0
	for _, proc := range s.processes {
		if proc.state != proto.Exited {
			live++
		}
	}
	if live > 0 && !m.Force {
		return faultf(proto.Precondition, "stop: %d processes run", live)
	}
	for _, proc := range s.processes {
		s.kill(proc)
	}
	return nil
}

// end makes Serve return.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.stopped)
	}
}
