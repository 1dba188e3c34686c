package lifecycle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tare/nsutil"
)

// gate is a client that takes what it is given when it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	data bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.data.Write(p)
}

func TestBacklog(t *testing.T) {
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	feed := func(n int) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		go func() { // ends when all is read, or r closes
			defer w.Close()
			for range n {
				w.Write(block)
			}
		}()
		return r
	}
	t.Run("a client that waits", func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		time.AfterFunc(50*time.Millisecond, func() { close(g.open) })
		if err := new(backlog).pass(g, feed(12)); err != nil || !bytes.Equal(g.data.Bytes(), bytes.Repeat(block, 12)) {
			t.Errorf("%d bytes, %v", g.data.Len(), err)
		}
	})
	t.Run("a client too slow", func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		defer close(g.open)
		if err := new(backlog).pass(g, feed(20)); !errors.Is(err, errTooSlow) {
			t.Error(err)
		}
	})
	t.Run("a client that has gone", func(t *testing.T) {
		r, w := io.Pipe()
		r.Close()
		if err := new(backlog).pass(w, feed(20)); !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, errTooSlow) {
			t.Error(err)
		}
	})
}

// TestInput has sessions write to one stdin, until it is closed for all.
func TestInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in := newInput(w)
	a, errA := in.take()
	b, errB := in.take()
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	a.WriteString("a")
	in.release(a)
	in.release(a)
	if _, err := a.WriteString("a"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after release: %v", err)
	}
	b.WriteString("b")
	blocked := make(chan error, 1)
	go func() { // fills the pipe, and waits
		_, err := b.Write(make([]byte, 1<<20))
		blocked <- err
	}()
	time.Sleep(20 * time.Millisecond)
	in.close()
	in.close()
	if err := <-blocked; !errors.Is(err, os.ErrClosed) {
		t.Errorf("write while it was closed: %v", err)
	}
	if f, err := in.take(); f != nil || err != nil {
		t.Errorf("taken from a closed input: %v, %v", f, err)
	}
	if data, err := io.ReadAll(r); err != nil || !bytes.HasPrefix(data, []byte("ab")) {
		t.Errorf("%.10q, %v: no end", data, err)
	}
}

// TestRelay ends with the output, or with silence once the command has ended.
func TestRelay(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // somebody holds it
	var out bytes.Buffer
	w.WriteString("before ")
	done := make(chan struct{})
	go func() { relay(&out, r); close(done) }()
	r.SetReadDeadline(time.Now().Add(execDrain))
	const more = 16
	for range more { // longer than one silence
		time.Sleep(execDrain / 8)
		w.WriteString("more ")
	}
	<-done
	if out.String() != "before "+strings.Repeat("more ", more) {
		t.Errorf("%q", &out)
	}
	if _, err := w.WriteString("x"); err == nil {
		t.Error("nobody reads, and nobody is told")
	}
}

// TestLateReader: what a command has written before its end is in its result, also if nobody came to read it until the time for
// stragglers was over, and somebody else holds the pipe.
func TestLateReader(t *testing.T) {
	written := strings.Repeat("x", 60_000) // fits into a pipe
	late := time.Now().Add(-time.Second)
	t.Run("ExecSync", func(t *testing.T) {
		var c capture
		if err := c.open(owner{uint32(os.Getuid()), uint32(os.Getgid())}); err != nil {
			t.Fatal(err)
		}
		holder, err := nsutil.DuplicateNonblock(c.write)
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		c.write.WriteString(written)
		c.read.SetReadDeadline(late)
		c.started()
		c.wg.Wait()
		if got := string(c.bytes()); got != written {
			t.Errorf("%d bytes of %d", len(got), len(written))
		}
		c.close()
	})
	t.Run("Exec", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.WriteString(written)
		r.SetReadDeadline(late)
		var out bytes.Buffer
		relay(&out, r)
		if out.String() != written {
			t.Errorf("%d bytes of %d", out.Len(), len(written))
		}
	})
}
