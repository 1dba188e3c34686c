package server

import (
	"io"
	"log/slog"
	"testing"
)

// TestSerial: a journal that leaves history out still says which numbers are taken. Output on its way into a log is known by
// them: it must not become a later process's.
func TestSerial(t *testing.T) {
	j, err := newJournal(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	j.note(entry{Op: opRun, Key: "a", Serial: 7, FDs: make([]int, runSlots)})
	j.note(entry{Op: opForget, Key: "a"})
	if err := j.rewrite(); err != nil {
		t.Fatal(err)
	}
	defer j.file.Close()
	h, err := readHeritage(io.NewSectionReader(j.file, 0, 1<<62))
	if err != nil || h.serial != 7 || len(h.processes) > 0 {
		t.Errorf("%+v, %v", h, err)
	}
}
