package server

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tare/keeper/proto"
	"tare/nsutil"
)

// Whatever a client sends after its greeting, it is answered or the connection ends; nothing stays in the books
// of its session. Programs that could run are left out: they would.
func FuzzSession(f *testing.F) {
	f.Add(uint16(proto.KindPut), proto.Key("k").Append(nil), uint16(proto.KindGet), proto.Key("k").Append(nil))
	f.Add(uint16(proto.KindRun), proto.Run{Key: "k", Program: []byte{1, 2}}.Append(nil), uint16(proto.KindList), []byte{})
	f.Add(uint16(proto.KindAdopt), proto.Held{Key: "k", Pid: 1, Parts: proto.PartPidFD}.Append(nil), uint16(proto.KindSubscribe), proto.Held{Key: "k"}.Append(nil))
	f.Add(uint16(proto.KindStop), proto.Stop{}.Append(nil), uint16(0x1ff), []byte("x"))
	f.Add(uint16(proto.KindReplace), []byte{}, uint16(proto.KindList), []byte{}) // by /dev/null, which cannot be executed
	s, err := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		f.Fatal(err)
	}
	if s.listener, err = Listen(f.TempDir()); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.listener.Close)
	f.Fuzz(func(t *testing.T, kind1 uint16, body1 []byte, kind2 uint16, body2 []byte) {
		theirs, ours := conns(t)
		done := make(chan struct{})
		go func() { s.serve(theirs); close(done) }() // ends with the connection
		hello := proto.Hello{Min: proto.MinVersion, Max: proto.MaxVersion}
		send(ours, proto.KindHello, hello.Append(nil))
		send(ours, proto.Kind(kind1), body1)
		send(ours, proto.Kind(kind2), body2)
		ours.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the session does not end")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.sessions) > 0 || len(s.processes) > 0 {
			t.Errorf("left: %d sessions, %d processes", len(s.sessions), len(s.processes))
		}
	})
}

func send(c *proto.Conn, kind proto.Kind, body []byte) {
	if m, err := proto.ParseRun(body); kind == proto.KindRun && err == nil {
		if _, _, err := nsutil.Decode(m.Program); err == nil {
			return
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return
	}
	defer null.Close()
	_ = c.Send(&proto.Packet{Kind: kind, ID: 1, Body: body, Files: []*os.File{null}}, time.Now().Add(time.Second)) // it may have hung up
}

func conns(t *testing.T) (a, b *proto.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = proto.NewConn(fds[0]); err != nil {
		t.Fatal(err)
	}
	if b, err = proto.NewConn(fds[1]); err != nil {
		t.Fatal(err)
	}
	return a, b
}
