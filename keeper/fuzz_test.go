package keeper

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/keeper/proto"
)

// conns are the two ends of a connection.
func conns(t *testing.T) (ours, theirs *proto.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = proto.NewConn(fds[0]); err != nil {
		t.Fatal(err)
	}
	if theirs, err = proto.NewConn(fds[1]); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// Whatever a keeper answers, a call ends with its answer, an error, or its deadline, and the client can be closed.
func FuzzAnswers(f *testing.F) {
	f.Add(uint16(proto.KindListing), proto.Listing{Stored: []string{"a"}}.Append(nil), uint16(proto.KindExited), proto.Exit{Key: "k"}.Append(nil))
	f.Add(uint16(proto.KindHeld), proto.Held{Key: "k", Parts: proto.PartLog}.Append(nil), uint16(proto.KindFault), (&proto.Fault{Text: "x"}).Append(nil))
	f.Add(uint16(proto.KindRan), []byte{}, uint16(0), []byte{1})
	o := Options{Exited: func(Exit) {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	f.Fuzz(func(t *testing.T, kind1 uint16, body1 []byte, kind2 uint16, body2 []byte) {
		ours, theirs := conns(t)
		go func() { // ends with the connection
			defer theirs.Close()
			answers(theirs, uint64(2), [2]proto.Packet{{Kind: proto.Kind(kind1), Body: body1}, {Kind: proto.Kind(kind2), Body: body2}})
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := newClient(ctx, ours, o)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.List(ctx)
		if held, err := c.Fetch(ctx, "k"); err == nil {
			held.Close()
		}
		if ctx.Err() != nil {
			t.Error("a call waits for ever")
		}
		c.Close()
		<-c.Lost()
	})
}

// answers greets, answers two requests with what it is given, and hangs up.
func answers(c *proto.Conn, id uint64, what [2]proto.Packet) {
	if _, err := c.Recv(); err != nil {
		return
	}
	deadline := time.Now().Add(time.Second)
	_ = c.Send(&proto.Packet{Kind: proto.KindWelcome, ID: 1, Body: proto.Welcome{Version: proto.MaxVersion}.Append(nil)}, deadline)
	for i := range what {
		p, err := c.Recv()
		if err != nil {
			return
		}
		p.CloseFiles()
		null, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		what[i].ID, what[i].Files = id+uint64(i), []*os.File{null}
		_ = c.Send(&what[i], deadline)
		null.Close()
	}
}

// TestEndIsKnown has a keeper go away at any moment of a request: whoever is told so finds Lost closed.
func TestEndIsKnown(t *testing.T) {
	o := Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for round := range 2000 {
		ours, theirs := conns(t)
		go func() { // ends with the greeting
			defer theirs.Close()
			if _, err := theirs.Recv(); err == nil {
				_ = theirs.Send(&proto.Packet{Kind: proto.KindWelcome, ID: 1, Body: proto.Welcome{Version: proto.MaxVersion}.Append(nil)}, time.Time{})
			}
		}()
		c, err := newClient(t.Context(), ours, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.List(t.Context())
		select {
		case <-c.Lost():
		default:
			t.Fatalf("round %d: a request fails before the keeper is lost: %v", round, err)
		}
		if !errdefs.IsUnavailable(err) {
			t.Fatalf("round %d: %v, want unavailable", round, err)
		}
		c.Close()
	}
}
