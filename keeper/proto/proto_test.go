package proto

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRoundTrip(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	exit := Exit{Key: "k", Pid: 7, Status: 9, Known: true, Time: at, Dropped: 11}
	check := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	hello := Hello{1, 2, true}
	h, err := ParseHello(hello.Append(nil))
	check("hello", h, hello, err)
	welcome := Welcome{3, 4, "digest"}
	w, err := ParseWelcome(welcome.Append(nil))
	check("welcome", w, welcome, err)
	run := Run{Key: "k", Parts: PartStdout | PartLog, Tether: true, Program: []byte{1, 2}}
	r, err := ParseRun(run.Append(nil))
	check("run", r, run, err)
	held := Held{"k", 5, PartPidFD}
	he, err := ParseHeld(held.Append(nil))
	check("held", he, held, err)
	e, err := ParseExit(exit.Append(nil))
	check("exit", e, exit, err)
	fault := &Fault{Code: FailedOp, Op: -1, Errno: unix.ENOENT, Text: "text"}
	f, err := ParseFault(fault.Append(nil))
	check("fault", f, fault, err)
	list := Listing{Processes: []Process{{exit, Exited, PartLog}, {Exit{Time: time.Unix(0, 0)}, Running, 0}}, Stored: []string{"a", ""}}
	l, err := ParseListing(list.Append(nil))
	check("listing", l, list, err)
}

func FuzzParse(f *testing.F) {
	f.Add(Listing{Processes: []Process{{Exit{Key: "k"}, Exited, PartLog}}, Stored: []string{"a"}}.Append(nil))
	f.Add(Run{Key: "k", Program: []byte{1, 2}}.Append(nil))
	f.Add((&Fault{Text: "x"}).Append(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		ParseHello(body)
		ParseWelcome(body)
		ParseRun(body)
		ParseHeld(body)
		ParseKey(body)
		ParseStop(body)
		ParseExit(body)
		ParseFault(body)
		if l, err := ParseListing(body); err == nil {
			if again, err := ParseListing(l.Append(nil)); err != nil || len(again.Processes) != len(l.Processes) {
				t.Errorf("listing does not come back: %v", err)
			}
		}
	})
}

// pair is two connected Conns.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = NewConn(fds[0]); err != nil {
		t.Fatal(err)
	}
	if b, err = NewConn(fds[1]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestPackets(t *testing.T) {
	a, b := pair(t)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range []struct {
		name  string
		size  int
		files int
	}{
		{"empty", 0, 0}, {"inline", 100, 3}, {"largest inline", inlineMax, 0}, {"in a file", inlineMax + 1, 2},
		{"large", 5 << 20, 0}, {"many files", 10, MaxFiles}, {"many files and a large body", inlineMax + 1, MaxFiles},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Packet{Kind: KindRun, ID: 42, Body: bytes.Repeat([]byte{'x'}, c.size)}
			for range c.files {
				p.Files = append(p.Files, dir)
			}
			if err := a.Send(p, time.Now().Add(10*time.Second)); err != nil {
				t.Fatal(err)
			}
			got, err := b.Recv()
			if err != nil {
				t.Fatal(err)
			}
			defer got.CloseFiles()
			if got.Kind != p.Kind || got.ID != p.ID || !bytes.Equal(got.Body, p.Body) || len(got.Files) != c.files {
				t.Errorf("got kind %d, id %d, %d bytes, %d files", got.Kind, got.ID, len(got.Body), len(got.Files))
			}
		})
	}
	if err := a.Send(&Packet{Files: make([]*os.File, MaxFiles+1)}, time.Time{}); !errors.Is(err, ErrGarbage) {
		t.Errorf("too many files: %v", err)
	}
}

func TestRefusedPackets(t *testing.T) {
	unsealed, err := os.Create(t.TempDir() + "/body")
	if err != nil {
		t.Fatal(err)
	}
	defer unsealed.Close()
	inFile := []byte{1, 0, bodyInFile, 0, 1, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name string
		data []byte
		fds  []int
		want error
	}{
		{"cut header", []byte{1, 2, 3}, nil, ErrGarbage},
		{"too long", make([]byte, headerSize+inlineMax+1), nil, ErrGarbage},
		{"body in no file", inFile, nil, ErrGarbage},
		{"body in a file that may change", inFile, []int{int(unsealed.Fd())}, ErrGarbage},
	} {
		t.Run(c.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[1])
			conn, err := NewConn(fds[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var oob []byte
			if c.fds != nil {
				oob = unix.UnixRights(c.fds...)
			}
			if err := unix.Sendmsg(fds[1], c.data, oob, nil, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Recv(); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// TestEnds tells the peer's closing, one's own, and a peer that does not read from each other.
func TestEnds(t *testing.T) {
	a, b := pair(t)
	var err error
	for err == nil {
		err = a.Send(&Packet{Body: make([]byte, inlineMax)}, time.Now().Add(20*time.Millisecond))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send into a full socket: %v", err)
	}
	a.Close()
	for err = nil; err == nil; {
		_, err = b.Recv()
	}
	if err != io.EOF {
		t.Errorf("receive from a closed peer: %v", err)
	}
	b.Close()
	if _, err := b.Recv(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("receive on a closed connection: %v", err)
	}
}

// TestHangUp sends to a peer that has not read what came, and hangs up: the answer is there all the same.
func TestHangUp(t *testing.T) {
	a, b := pair(t)
	for range 3 {
		if err := b.Send(&Packet{Kind: KindList, Body: []byte("unread")}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Send(&Packet{Kind: KindDone}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	a.HangUp()
	if p, err := b.Recv(); err != nil || p.Kind != KindDone {
		t.Fatalf("what was sent before: %v, %v", p, err)
	}
	if _, err := b.Recv(); err != io.EOF {
		t.Errorf("after it: %v, want EOF", err)
	}
}
