package stream

import (
	"context"
	"errors"
	"net"
	"os"
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
	gone chan struct{} // closed when the peer has gone, or we have closed
}

// Read is net.Conn's. Who reads does not always tell others of the end.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

// Close is net.Conn's. The peer's address may be another connection's by the second time.
func (c *conn) Close() error {
	peer := c.RemoteAddr().String()
	c.from.mu.Lock()
	if c.from.conns[peer] == c {
		delete(c.from.conns, peer)
	}
	c.from.mu.Unlock()
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// goneKey is under which a request's context has the gone channel of its connection: the library
// passes on nothing else that tells.
type goneKey struct{}

// withGone is http.Server.ConnContext.
func withGone(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, goneKey{}, c.(*conn).gone)
}

// goneOf returns a channel that closes with the connection that a request came on.
func goneOf(ctx context.Context) <-chan struct{} {
	gone, _ := ctx.Value(goneKey{}).(chan struct{})
	return gone
}
