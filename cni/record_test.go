package cni

import (
	"log/slog"
	"testing"

	"tare/spec"
	"tare/test/scarce"
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
	restore := scarce.Descriptors(t, 1)
	stop := scarce.Contend()
	for range 20 {
		_, _ = d.list(slog.New(slog.DiscardHandler)) // may fail
	}
	stop()
	restore()
	all, err := d.list(slog.New(slog.DiscardHandler))
	if err != nil || len(all) != attachments {
		t.Errorf("%d of %d are left, %v", len(all), attachments, err)
	}
}
