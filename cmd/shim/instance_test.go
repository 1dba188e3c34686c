package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tare/config"
)

func TestClaim(t *testing.T) {
	state := filepath.Join(t.TempDir(), "a", "state")
	first, err := claim(state)
	if err != nil {
		t.Fatal(err)
	}
	_, err = claim(state)
	running, ok := errors.AsType[*runningError](err)
	if !ok || running.pid != os.Getpid() {
		t.Fatalf("a second claim: %v, want one that names pid %d", err, os.Getpid())
	}
	for _, word := range []string{state, "tare stop --state"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	if err := first.release(); err != nil {
		t.Fatal(err)
	}
	again, err := claim(state)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory is still there: %v", err)
	}
}

func TestClearLeavesOthersFiles(t *testing.T) {
	state := t.TempDir()
	mine, err := claim(state)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(state, "somebody-elses")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mine.clear(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(state)
	if err != nil || len(left) != 1 || left[0].Name() != "somebody-elses" {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestRecord(t *testing.T) {
	state := t.TempDir()
	if _, err := recorded(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v, want fs.ErrNotExist", err)
	}
	mine, err := claim(state)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.release()
	want := settings{Listen: "unix:///s", Root: "/r", State: state, Config: config.Default()}
	if err := mine.record(want); err != nil {
		t.Fatal(err)
	}
	got, err := recorded(state)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestEndDaemonWithoutOne: a pid in a file that nobody has locked is nobody's, and is not signalled,
// here our own.
func TestEndDaemonWithoutOne(t *testing.T) {
	state := t.TempDir()
	for _, step := range []string{"no file", "file of a dead daemon"} {
		daemon, err := endDaemon(state, time.Second)
		if daemon.pid != 0 || err != nil {
			t.Errorf("%s: %v, %v", step, daemon, err)
		}
		mine, err := claim(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := mine.release(); err != nil {
			t.Fatal(err)
		}
	}
}
