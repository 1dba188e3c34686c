package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// copyThrough writes chunks through a pipe into a Log, as the stream's end, and returns the records without
// their times.
func copyThrough(t *testing.T, tty bool, chunks ...string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := New(appending(t, path), Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
	s, err := NewStream(l, source(t, r, "stdout", tty))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Copy() }()
	for _, c := range chunks {
		if _, err := w.WriteString(c); err != nil {
			t.Error(err)
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.Close()
	return recordsOf(t, path)
}

func appending(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// recordsOf reads a log file and checks the times.
func recordsOf(t testing.TB, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	last := time.Time{}
	for _, line := range strings.SplitAfter(string(data), "\n") {
		if line == "" {
			continue
		}
		stamp, rest, ok := strings.Cut(line, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if !ok || err != nil || at.Before(last) {
			t.Fatalf("record %q: %v", line, err)
		}
		last = at
		out = append(out, rest)
	}
	return out
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", maxContent)
	for _, c := range []struct {
		name string
		tty  bool
		in   string
		want []string
	}{
		{"nothing", false, "", nil},
		{"line", false, "hello\n", []string{"stdout F hello\n"}},
		{"lines", false, "a\n\nb\n", []string{"stdout F a\n", "stdout F \n", "stdout F b\n"}},
		{"no newline at the end", false, "a\nb", []string{"stdout F a\n", "stdout P b\n"}},
		{"carriage return of a program", false, "a\r\n", []string{"stdout F a\r\n"}},
		{"carriage return of a terminal", true, "a\r\nb\rc\r\n", []string{"stdout F a\n", "stdout F b\rc\n"}},
		{"only carriage return", true, "\r\n", []string{"stdout F \n"}},
		{"longest line", false, long + "\n", []string{"stdout F " + long + "\n"}},
		{"one byte more", false, long + "y\n", []string{"stdout P " + long + "\n", "stdout F y\n"}},
		{"two pieces", false, long + long + "\n", []string{"stdout P " + long + "\n", "stdout F " + long + "\n"}},
		{"cut twice, no end", false, long + long + "y", []string{"stdout P " + long + "\n", "stdout P " + long + "\n", "stdout P y\n"}},
		{"binary", false, "\x00\xff\xfe\x01\n\x80", []string{"stdout F \x00\xff\xfe\x01\n", "stdout P \x80\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := copyThrough(t, c.tty, c.in)
			if strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("records %q, want %q", got, c.want)
			}
		})
	}
}

// TestContent puts together what was cut, for a megabyte of lines of all lengths.
func TestContent(t *testing.T) {
	var in strings.Builder
	for i := range 1400 {
		in.WriteString(strings.Repeat("z", i) + "\n")
	}
	in.WriteString(strings.Repeat("w", 100_000) + "\nend")
	var out strings.Builder
	for _, r := range copyThrough(t, false, in.String()) {
		out.WriteString(strings.TrimSuffix(r[len("stdout F "):], "\n"))
		if strings.HasPrefix(r, "stdout F") {
			out.WriteByte('\n')
		}
		if len(r) > maxContent+len("stdout F \n") {
			t.Errorf("record of %d bytes", len(r))
		}
	}
	if out.String() != in.String() {
		t.Error("the records' content is not what was written")
	}
}

// TestPrompt sees the beginning of a line while its end has not come.
func TestPrompt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := New(appending(t, path), Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
	s, err := NewStream(l, source(t, r, "stderr", false))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Copy() }()
	w.WriteString("name? ")
	deadline := time.Now().Add(10 * time.Second)
	for info, _ := os.Stat(path); info.Size() == 0 && time.Now().Before(deadline); info, _ = os.Stat(path) {
		time.Sleep(quiet / 20)
	}
	w.WriteString("\nnext\n")
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := "stderr P name? \n|stderr F \n|stderr F next\n"
	if got := strings.Join(recordsOf(t, path), "|"); got != want {
		t.Errorf("records %q, want %q", got, want)
	}
}

// TestFullDisk writes into a file that cannot grow: output goes on, whole records are kept, the
// loss is counted, and reported once.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	failures := 0
	l := New(f, Host{Spool: spool(t), Failed: func(error) { failures++ }})
	for range 3 {
		l.append([]byte("record\n"), buffer(t, l), 0, 0)
	}
	if failures != 1 || l.Dropped() != 21 {
		t.Errorf("%d failures reported, %d bytes dropped; want 1 and 21", failures, l.Dropped())
	}
	path := filepath.Join(t.TempDir(), "log")
	if err := l.Reopen(appending(t, path)); err != nil {
		t.Fatal(err)
	}
	l.append([]byte("record\n"), buffer(t, l), 0, 0)
	l.Close()
	if data, err := os.ReadFile(path); err != nil || string(data) != "record\n" {
		t.Errorf("after room was made: %q, %v", data, err)
	}
}

// TestUntear cuts half a record off the end of a file.
func TestUntear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := New(appending(t, path), Host{Spool: spool(t), Failed: func(error) {}})
	written := []byte("one\ntwo\nthr")
	l.append(written, buffer(t, l), 0, 0)
	if n := l.untear(written); n != len("one\ntwo\n") {
		t.Errorf("%d bytes are left", n)
	}
	l.append([]byte("four\n"), buffer(t, l), 0, 0)
	if data, err := os.ReadFile(path); err != nil || string(data) != "one\ntwo\nfour\n" {
		t.Errorf("file %q, %v", data, err)
	}
}

// TestReopenAmidALine waits for the line's end, but not for ever.
func TestReopenAmidALine(t *testing.T) { synctest.Test(t, reopenAmidALine) }

func reopenAmidALine(t *testing.T) {
	dir := t.TempDir()
	old, next, third := filepath.Join(dir, "old"), filepath.Join(dir, "next"), filepath.Join(dir, "third")
	l := New(appending(t, old), Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
	l.append([]byte("P begin\n"), buffer(t, l), 0, 1)
	done := make(chan error)
	go func() { done <- l.Reopen(appending(t, next)) }()
	synctest.Wait() // until Reopen waits
	l.turn.Lock()
	l.append([]byte("F end\n"), buffer(t, l), 0, -1)
	l.endTurn()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.append([]byte("P endless\n"), buffer(t, l), 0, 1)
	if err := l.Reopen(appending(t, third)); err != nil {
		t.Fatal(err)
	}
	l.append([]byte("P still\n"), buffer(t, l), 0, 0)
	l.Close()
	for path, want := range map[string]string{old: "P begin\nF end\n", next: "P endless\n", third: "P still\n"} {
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", filepath.Base(path), data, err, want)
		}
	}
	if err := l.Reopen(appending(t, old)); err != ErrClosed {
		t.Errorf("reopen of a closed log: %v", err)
	}
}

// BenchmarkFormat is the formatting alone.
func BenchmarkFormat(b *testing.B) {
	in := bytes.Repeat([]byte(strings.Repeat("x", 80)+"\n"), chunkSize/81)
	f := format{stream: "stdout"}
	out := make([]byte, 0, recordsSize)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		f.begin(time.Now())
		out = out[:0]
		for data, n := in, 0; ; data = data[n:] {
			if out, n = f.next(out, data); n == 0 {
				break
			}
		}
	}
}

// BenchmarkCopy is a pipe full of lines of 80 bytes on its way into a file. The writer is a
// goroutine: it shares the machine with the copying, as a container does.
func BenchmarkCopy(b *testing.B) {
	in := bytes.Repeat([]byte(strings.Repeat("x", 80)+"\n"), chunkSize/81)
	path := filepath.Join(b.TempDir(), "log")
	l := New(appending(b, path), Host{Spool: spool(b), Failed: func(err error) { b.Error(err) }})
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewStream(l, source(b, r, "stdout", false))
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Copy() }()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	written := 0
	for b.Loop() {
		w.Write(in)
		if written += len(in); written > 256<<20 { // a kubelet rotates, too
			written = 0
			os.Remove(path)
			if err := l.Reopen(appending(b, path)); err != nil {
				b.Fatal(err)
			}
		}
	}
	w.Close()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// spool keeps account of its buffers.
func spool(t testing.TB) *Spool {
	return NewSpool(func(fd int, made bool) {})
}

// buffer is a fresh one.
func buffer(t testing.TB, l *Log) *Buffer {
	t.Helper()
	b, err := l.host.Spool.take(owners.Add(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var owners atomic.Uint64

// source is one of a spool's.
func source(t testing.TB, f *os.File, name string, tty bool) Source {
	t.Helper()
	s := Source{File: f, Name: name, Owner: owners.Add(1)}
	if !tty {
		return s
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Scratch = [2]*os.File{r, w}
	return s
}
