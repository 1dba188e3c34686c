package server

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
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

// TestJournalFull: an entry for which there is no room is not missing when there is some again, and a part of it spoils nothing.
func TestJournalFull(t *testing.T) {
	j, err := newJournal(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	const room = 4096
	fd, err := unix.MemfdCreate("journal without room", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	j.file = os.NewFile(uintptr(fd), "journal")
	defer func() { j.file.Close() }()
	if err := j.file.Truncate(room); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(j.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW); err != nil {
		t.Fatal(err)
	}
	const keys = 200 // more than there is room for
	for i := range keys {
		j.note(entry{Op: opPut, Key: strconv.Itoa(i), FDs: []int{i}})
	}
	h, err := readHeritage(io.NewSectionReader(j.file, 0, 1<<62))
	if err != nil || len(h.stored) != keys {
		t.Errorf("the journal names %d of %d keys, %v", len(h.stored), keys, err)
	}
}
