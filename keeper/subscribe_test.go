package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"tare/keeper"
)

// TestSubscribe has several subscribers, who get what comes from then on while it is logged.
func TestSubscribe(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	path, gate := filepath.Join(dir, "log"), filepath.Join(dir, "gate")
	n.logged("a", path, fmt.Sprintf(`printf early; while [ ! -e %s ]; do sleep 0.01; done
		echo out; echo err >&2; head -c 3000000 /dev/zero | tr '\0' x`, gate))
	for len(lines(t, path, "stdout")) == 0 { // its beginning is logged after a while
		time.Sleep(time.Millisecond)
	}
	type got struct{ out, err []byte }
	results := make(chan got, 3)
	want := []struct{ out, err bool }{{true, true}, {true, false}, {false, true}}
	for _, w := range want {
		s := n.subscribe("a", w.out, w.err)
		go func() { // ends with the output
			var g got
			if s.Stdout != nil {
				g.out, _ = io.ReadAll(s.Stdout)
			}
			if s.Stderr != nil {
				g.err, _ = io.ReadAll(s.Stderr)
			}
			if err := s.Err(); err != nil {
				t.Error(err)
			}
			results <- g
		}()
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	outs, errs := 0, 0
	for range want {
		g := receive(t, results)
		if bytes.HasPrefix(g.out, []byte("out\nxxx")) && len(g.out) == 3000004 {
			outs++
		}
		if string(g.err) == "err\n" {
			errs++
		}
	}
	if outs != 2 || errs != 2 {
		t.Errorf("%d have all of stdout, %d of stderr, want 2 and 2", outs, errs)
	}
	n.exit("a")
	s := n.subscribe("a", true, false)
	if data, err := io.ReadAll(s.Stdout); len(data) > 0 || err != nil || s.Err() != nil {
		t.Errorf("after the end: %d bytes, %v, %v", len(data), err, s.Err())
	}
	if _, err := n.Subscribe(t.Context(), "b", true, false); !errdefs.IsNotFound(err) {
		t.Errorf("no process: %v", err)
	}
}

func (n *node) subscribe(key string, out, err bool) *keeper.Subscription {
	n.t.Helper()
	s, e := n.Subscribe(n.t.Context(), key, out, err)
	if e != nil {
		n.t.Fatal(e)
	}
	n.t.Cleanup(s.Close)
	return s
}

// TestSubscriberBehind does not read: the process ends all the same, the log is complete, another
// subscriber is not bothered, and the one that did not read is told.
func TestSubscriberBehind(t *testing.T) {
	n := newNode(t)
	path, gate := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "gate")
	n.logged("a", path, fmt.Sprintf(`while [ ! -e %s ]; do sleep 0.01; done
		head -c 8000000 /dev/zero | tr '\0' x`, gate))
	slow, quick := n.subscribe("a", true, false), n.subscribe("a", true, false)
	all := make(chan int, 1)
	go func() { data, _ := io.ReadAll(quick.Stdout); all <- len(data) }()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("a"); e.Status != 0 || e.Dropped != 0 {
		t.Errorf("status %v, %d bytes dropped", e.Status, e.Dropped)
	}
	if got := receive(t, all); got != 8000000 || quick.Err() != nil {
		t.Errorf("the quick one has %d bytes, %v", got, quick.Err())
	}
	if err := slow.Err(); !errors.Is(err, keeper.ErrBehind) {
		t.Errorf("the slow one is told %v", err)
	}
	logged := 0
	for _, l := range lines(t, path, "stdout") {
		logged += len(strings.TrimPrefix(l, "P "))
	}
	if logged != 8000000 {
		t.Errorf("%d bytes are logged", logged)
	}
}

// TestUnsubscribe leaves nothing open in the keeper, though the process says nothing.
func TestUnsubscribe(t *testing.T) {
	n := newNode(t)
	n.logged("a", filepath.Join(t.TempDir(), "log"), "exec sleep 1000")
	before := n.open()
	for range 20 {
		n.subscribe("a", true, true).Close()
	}
	for deadline := time.Now().Add(10 * time.Second); n.open() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files open, %d before", n.open(), before)
		}
	}
}

// open counts the keeper's descriptors, but for the few buffers that it keeps for output to come.
func (n *node) open() (count int) {
	n.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", n.Pid())
	fds, err := os.ReadDir(dir)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && !strings.Contains(link, "container output") {
			count++
		}
	}
	return count
}
