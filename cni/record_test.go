package cni

import (
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tare/spec"
)

// TestScarceRecords reads the records while others of the process take the last descriptor now and then: none is dropped
// for that.
func TestScarceRecords(t *testing.T) {
	d, err := openRecords(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const attachments = 100
	for range attachments {
		if err := d.write(&record{Pod: spec.NewPodID()}); err != nil {
			t.Fatal(err)
		}
	}
	free, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free.Fd()) + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	free.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if f, err := os.Open("/"); err == nil {
				f.Close()
			}
		}
	}()
	for range 20 {
		_, _ = d.list(slog.New(slog.DiscardHandler)) // may fail
	}
	close(stop)
	<-stopped
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	all, err := d.list(slog.New(slog.DiscardHandler))
	if err != nil || len(all) != attachments {
		t.Errorf("%d of %d are left, %v", len(all), attachments, err)
	}
}
