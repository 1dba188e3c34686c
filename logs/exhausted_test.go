package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tare/test/scarce"
)

// TestNoDescriptors writes while the process can make no memory file for what it would read (EMFILE): the output waits in
// the pipe until it can, and its writer is not told that nobody reads. The beginning of a line that would need a
// second file is written as such.
func TestNoDescriptors(t *testing.T) {
	for _, c := range []struct{ before, amid, want string }{
		{"", "one\ntwo", "stdout F one\nstdout F two three\n"},
		{"o", "ne\ntwo", "stdout F one\nstdout P two\nstdout F  three\n"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		l := New(appending(t, path), Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
		s, err := NewStream(l, source(t, r, "stdout", false))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		write := func(text string) {
			t.Helper()
			if _, err := w.WriteString(text); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Millisecond) // for the reader to come to it
		}
		write(c.before)
		if c.before != "" {
			go func() { done <- s.Copy() }()
			time.Sleep(50 * time.Millisecond)
		}
		restore := scarce.Descriptors(t, 0)
		if c.before == "" {
			go func() { done <- s.Copy() }()
		}
		write(c.amid)
		restore()
		write(" three\n")
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.Close()
		if got := strings.Join(recordsOf(t, path), ""); got != c.want {
			t.Errorf("log is %q, want %q", got, c.want)
		}
	}
}
