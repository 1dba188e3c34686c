package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// followed copies a pipe into a log, and returns the pipe's writing end, the stream and what its
// copying returns.
func followed(t *testing.T) (*os.File, *Stream, <-chan error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	l := New(appending(t, filepath.Join(t.TempDir(), "log")), Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
	t.Cleanup(l.Close)
	s, err := NewStream(l, source(t, r, "stdout", false))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Copy() }() // ends with the pipe
	return w, s, done
}

// follow returns what a Follower gets, and how it ended, as soon as it has.
func follow(t *testing.T, s *Stream) (*Follower, func() (string, error)) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	f := s.Follow(w, func(err error) { ended <- err })
	data := make(chan string, 1)
	go func() { // ends with the Follower
		defer r.Close()
		got, _ := io.ReadAll(r)
		data <- string(got)
	}()
	return f, func() (string, error) { return <-data, <-ended }
}

func TestFollow(t *testing.T) {
	w, s, done := followed(t)
	chunk := []byte(strings.Repeat("x", 30000) + "\n" + "tail without an end ")
	first, firstGot := follow(t, s)
	var rest []func() (string, error)
	var wg sync.WaitGroup
	for i := range 50 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if i == 25 {
			first.Close()
			first.Close()
			_, got := follow(t, s)
			rest = append(rest, got)
		}
		wg.Go(func() { // coming and going all the time
			f, got := follow(t, s)
			f.Close()
			got()
		})
	}
	wg.Wait()
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	whole := string(bytes.Repeat(chunk, 50))
	if got, err := firstGot(); err != nil || !strings.HasPrefix(whole, got) {
		t.Errorf("the first has %d bytes, %v", len(got), err)
	}
	for _, r := range rest {
		if got, err := r(); err != nil || !strings.HasSuffix(whole, got) || len(got) < len(chunk)*24 {
			t.Errorf("the other has %d bytes, %v", len(got), err)
		}
	}
	_, late := follow(t, s)
	if data, err := late(); data != "" || err != nil {
		t.Errorf("after the end: %q, %v", data, err)
	}
}

func TestFollowerBehind(t *testing.T) {
	w, s, done := followed(t)
	r, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ended := make(chan error, 1)
	s.Follow(to, func(err error) { ended <- err })
	gone, goneTo, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	s.Follow(goneTo, func(err error) { left <- err })
	gone.Close()
	go func() { // ends when all is read
		w.Write(bytes.Repeat([]byte("x"), 1<<20))
		w.Close()
	}()
	if err := <-ended; !errors.Is(err, ErrBehind) {
		t.Errorf("who does not read: %v", err)
	}
	if err := <-left; err != nil {
		t.Errorf("who has gone: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
