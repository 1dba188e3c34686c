package nsutil

import (
	"slices"
	"testing"
	"time"
)

// TestStages runs a program of two stages that fails in the third: what it has been through is known.
func TestStages(t *testing.T) {
	s, err := NewStages()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := NewBuilder()
	b.Stage(s, "first")
	b.Chdir("/")
	b.Stage(s, "second")
	b.Chdir("/nowhere/at/all")
	b.Stage(s, "third")
	b.Exit()
	before := time.Now()
	if _, err := Launch(b.Program(), Watch{Forked: func(int) error { return nil }}); err == nil {
		t.Fatal("changing to a directory that is not there succeeded")
	}
	after := time.Now()
	past, err := s.Past()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range past {
		names = append(names, p.Name)
		if p.At.Before(before) || p.At.After(after) {
			t.Errorf("%s ended at %v, not between %v and %v", p.Name, p.At, before, after)
		}
	}
	if want := []string{"first", "second"}; !slices.Equal(names, want) {
		t.Errorf("went through %v, want %v", names, want)
	}
}
