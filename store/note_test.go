package store

import (
	"os"
	"testing"
	"time"

	"tare/spec"
)

// A note is told at once although its file cannot be written, and is in the file when it can.
func TestNote(t *testing.T) {
	dir := t.TempDir() + "/pods"
	s, _, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &Pod{ID: "p", Spec: spec.Pod{UID: "u"}, State: PodReady}
	if err := s.Create(p); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	stop := func(p *Pod) error { p.State = PodNotReady; return nil }
	if _, err := s.Update("p", stop); err == nil {
		t.Fatal("an update without a file works")
	}
	if _, err := s.Note("p", stop); err != nil {
		t.Fatal(err)
	}
	if now, err := s.Pod("p"); err != nil || now.State != PodNotReady || !s.Behind("p") {
		t.Errorf("%v, %v, behind: %v", now, err, s.Behind("p"))
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * catchUpEvery); s.Behind("p"); time.Sleep(catchUpEvery / 10) {
		if time.Now().After(deadline) {
			t.Fatal("the file is not written")
		}
	}
	again, broken, err := Open(dir)
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	if then, err := again.Pod("p"); err != nil || then.State != PodNotReady {
		t.Errorf("the file says %v, %v", then, err)
	}
}
