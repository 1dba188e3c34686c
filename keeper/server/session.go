package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"tare/crash"
	"tare/keeper/proto"
	"tare/nsutil"
)

const (
	// helloBound is how long a connection may take to say Hello.
	helloBound = 5 * time.Second
	// sendBound is how long a client may leave its socket full: it is then disconnected, and learns
	// what it missed from List.
	sendBound = 10 * time.Second
)

// session is one client's connection.
type session struct {
	conn    *proto.Conn
	version uint32
	events  bool          // wants exits of processes that are not tethered
	gone    bool          // the connection has ended; Server.mu
	done    chan struct{} // closed when nothing of the connection is left to be read
}

// send sends, or ends the connection.
func (sess *session) send(p *proto.Packet) {
	if err := sess.conn.Send(p, time.Now().Add(sendBound)); err != nil {
		sess.conn.Close()
	}
}

// answer reports the outcome of a request that answers with nothing else.
func (sess *session) answer(id uint64, f *proto.Fault) {
	p := &proto.Packet{Kind: proto.KindDone, ID: id}
	if f != nil {
		p.Kind, p.Body = proto.KindFault, f.Append(nil)
	}
	sess.send(p)
}

// serve reads requests until the connection ends, and then kills what was tethered to it.
func (s *Server) serve(conn *proto.Conn) {
	defer conn.Close()
	sess := &session{conn: conn, done: make(chan struct{})}
	defer close(sess.done)
	if err := s.welcome(sess); err != nil {
		if !ended(err) {
			s.log.Warn("greet client", "err", err)
		}
		return
	}
	defer s.leave(sess)
	for {
		p, err := conn.Recv()
		if err != nil {
			if !ended(err) {
				s.log.Warn("read from client", "err", err)
			}
			return
		}
		if p.Lost {
			sess.answer(p.ID, proto.FilesLost("keeper"))
			continue
		}
		garbage := s.handle(sess, p)
		p.CloseFiles()
		if garbage != nil {
			s.log.Warn("refuse request", "err", garbage)
			return
		}
	}
}

// ended tells the end of a connection from garbage on it.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// welcome agrees on a version and enters the session into the books.
func (s *Server) welcome(sess *session) error {
	timer := time.AfterFunc(helloBound, func() { sess.conn.Close() })
	p, err := sess.conn.Recv()
	timer.Stop()
	if err != nil {
		return err
	}
	defer p.CloseFiles()
	m, err := proto.ParseHello(p.Body)
	if p.Kind != proto.KindHello || p.Lost || err != nil {
		return fmt.Errorf("%w: no hello", proto.ErrGarbage)
	}
	version := min(m.Max, proto.MaxVersion)
	if version < max(m.Min, proto.MinVersion) {
		sess.answer(p.ID, faultf(proto.Precondition, "keeper speaks versions %d to %d, client %d to %d", proto.MinVersion, proto.MaxVersion, m.Min, m.Max))
		return fmt.Errorf("no common version: client speaks %d to %d", m.Min, m.Max)
	}
	sess.events, sess.version = m.Events, version
	s.awaitDead()
	s.mu.Lock()
	s.sessions[sess] = true
	s.mu.Unlock()
	w := proto.Welcome{Version: version, Pid: uint32(s.pid), Program: s.program()}
	sess.send(&proto.Packet{Kind: proto.KindWelcome, ID: p.ID, Body: w.Append(nil)})
	return nil
}

// awaitDead waits until what clients had asked for who are dead now is at least begun: a daemon that lists
// what there is must not miss what the one before it asked for with its last breath.
func (s *Server) awaitDead() {
	var dead []*session
	s.mu.Lock()
	for sess := range s.sessions {
		if sess.conn.PeerGone() {
			dead = append(dead, sess)
		}
	}
	s.mu.Unlock()
	for _, sess := range dead {
		<-sess.done
	}
}

func (s *Server) leave(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.gone = true
	delete(s.sessions, sess)
	for _, p := range s.processes {
		if p.owner == sess {
			s.kill(p)
		}
	}
}

// handle does one request. It takes the files it keeps out of the packet. An error means that the
// client does not speak the protocol: there is no use in going on with it.
func (s *Server) handle(sess *session, p *proto.Packet) error {
	var f *proto.Fault
	switch p.Kind {
	case proto.KindRun:
		if f = s.run(sess, p); f == nil {
			return nil // launch answers
		}
	case proto.KindOpenLog:
		if f = s.openLog(sess, p); f == nil {
			return nil // reopen answers
		}
	case proto.KindList:
		sess.send(&proto.Packet{Kind: proto.KindListing, ID: p.ID, Body: s.list().Append(nil)})
		return nil
	case proto.KindFetch:
		return s.withKey(sess, p, s.fetch)
	case proto.KindGet:
		return s.withKey(sess, p, s.get)
	case proto.KindForget:
		f = s.forget(p)
	case proto.KindPut:
		f = s.put(p)
	case proto.KindDrop:
		f = s.drop(p)
	case proto.KindAdopt:
		f = s.adopt(p)
	case proto.KindSubscribe:
		f = s.subscribe(p)
	case proto.KindReplace:
		if !proto.CanReplace(sess.version) {
			return fmt.Errorf("%w: kind %d in version %d", proto.ErrGarbage, p.Kind, sess.version)
		}
		f = s.replace(p) // does not return if it succeeds
	case proto.KindStop:
		if f = s.stop(p); f == nil {
			defer s.end() // when it is answered
		}
	default:
		return fmt.Errorf("%w: kind %d", proto.ErrGarbage, p.Kind)
	}
	crash.Point("keeper-request.done")
	sess.answer(p.ID, f)
	if f != nil && f.Code == proto.Malformed {
		return f
	}
	return nil
}

// withKey answers a request for files, which do returns for this only.
func (s *Server) withKey(sess *session, p *proto.Packet, do func(key string) (*proto.Packet, *proto.Fault)) error {
	key, err := proto.ParseKey(p.Body)
	if err != nil {
		sess.answer(p.ID, fault("request", err))
		return err
	}
	reply, f := do(string(key))
	if f != nil {
		sess.answer(p.ID, f)
		return nil
	}
	reply.ID = p.ID
	sess.send(reply)
	reply.CloseFiles()
	return nil
}

func faultf(code proto.Code, format string, args ...any) *proto.Fault {
	return &proto.Fault{Code: code, Text: fmt.Sprintf(format, args...)}
}

// fault turns an error into what is sent of it.
func fault(what string, err error) *proto.Fault {
	f := &proto.Fault{Text: what + ": " + err.Error()}
	var op *nsutil.OpError
	switch {
	case errors.As(err, &op):
		f.Code, f.Op, f.Errno = proto.FailedOp, op.Index, op.Errno
	case errors.Is(err, proto.ErrGarbage):
		f.Code = proto.Malformed
	default:
		errors.As(err, &f.Errno)
	}
	return f
}
