package stream

import (
	"errors"
	"net"
	"sync"
)

// errClosing is why no session begins.
var errClosing = errors.New("the server is closing")

// listener knows the connections it has accepted, which an http.Server does not once they speak
// another protocol, and the sessions on them.
type listener struct {
	net.Listener
	sessions sync.WaitGroup

	mu     sync.Mutex
	conns  map[string]*conn // by the peer's address
	closed bool
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, conns: map[string]*conn{}}
}

// Accept is net.Listener's.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		accepted.Close()
		return nil, net.ErrClosed
	}
	c := &conn{Conn: accepted, from: l, gone: make(chan struct{})}
	l.conns[c.RemoteAddr().String()] = c
	return c, nil
}

// begin begins a session, unless the listener is closed: close waits until done is called.
func (l *listener) begin() (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosing
	}
	l.sessions.Add(1)
	return l.sessions.Done, nil
}

// gone returns a channel that closes with the connection of a peer.
func (l *listener) gone(peer net.Addr) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.conns[peer.String()]; c != nil {
		return c.gone
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// close closes every connection, and those to come, and waits for the sessions.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	var all []*conn
	for _, c := range l.conns {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	l.sessions.Wait()
}

// conn is an accepted connection.
type conn struct {
	net.Conn
	from *listener
	once sync.Once
	gone chan struct{} // closed when it is
}

// Close is net.Conn's.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.from.mu.Lock()
		delete(c.from.conns, c.RemoteAddr().String())
		c.from.mu.Unlock()
		close(c.gone)
	})
	return c.Conn.Close()
}
