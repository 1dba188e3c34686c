package stream

import (
	"net"
	"testing"
)

// TestPeerAgain closes a connection once more when the next one comes from the same port: that one stays known.
func TestPeerAgain(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(inner)
	defer inner.Close()
	// Of an address of its own: a port of 127.0.0.1 may go to anybody's connection in between.
	first, client := connected(t, l, &net.TCPAddr{IP: net.IPv4(127, 84, 65, 82)})
	client.SetLinger(0) // no TIME_WAIT, tcp(7)
	client.Close()
	first.Close()
	next, client := connected(t, l, client.LocalAddr())
	defer client.Close()
	first.Close()
	select {
	case <-l.gone(next.RemoteAddr()):
		t.Error("the connection counts as gone")
	default:
	}
	l.close()
	if _, err := next.Write([]byte("x")); err == nil {
		t.Error("closing the listener has left the connection open")
	}
}

func connected(t *testing.T, l *listener, from net.Addr) (net.Conn, *net.TCPConn) {
	t.Helper()
	client, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return accepted, client.(*net.TCPConn)
}
