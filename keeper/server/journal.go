package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"sync"

	"tare/keeper/proto"

	"golang.org/x/sys/unix"
)

// journalName is the journal's as a memory file, memfd_create(2).
const journalName = "keeper journal"

// journalMin is from which size on a journal is written anew when most of it is history.
const journalMin = 256 << 10

// What an entry is about.
const (
	opRun    = "run"    // a process runs
	opExit   = "exit"   // it has exited
	opForget = "forget" // its custody has ended
	opEnd    = "end"    // one of its streams has
	opLog    = "log"    // its log has another file, or none
	opPut    = "put"    // files are stored
	opDrop   = "drop"   // and closed
	opBuffer = "buffer" // a buffer is there
	opUnmake = "unmake" // and not any more
	opSerial = "serial" // of processes: numbers up to it are taken
)

// entry is one line of the journal, JSON. Unknown fields are a newer keeper's. Descriptors are numbers in the table of the
// keeper that writes; -1: none.
type entry struct {
	Op     string
	Key    string      `json:",omitempty"`
	Pid    int         `json:",omitempty"`
	Serial uint64      `json:",omitempty"` // of the process; its streams' owner numbers follow from it
	Tether bool        `json:",omitempty"`
	Stream int         `json:",omitempty"`
	FDs    []int       `json:",omitempty"` // opRun: in the order of runSlots
	Exit   *proto.Exit `json:",omitempty"`
}

// The places of a process's descriptors.
const (
	slotPidFD = iota
	slotStdout
	slotStderr
	slotConsole
	slotLog
	slotScratchR // the pipe a console's output passes through
	slotScratchW
	runSlots
)

// heritage is what a journal amounts to.
type heritage struct {
	processes map[string]*entry // opRun, with the exit where there is one
	stored    map[string][]int
	buffers   map[int]bool
	serial    uint64 // the highest one
}

func newHeritage() *heritage {
	return &heritage{processes: map[string]*entry{}, stored: map[string][]int{}, buffers: map[int]bool{}}
}

func (h *heritage) apply(e entry) {
	p := h.processes[e.Key]
	h.serial = max(h.serial, e.Serial)
	switch e.Op {
	case opRun:
		e.FDs = append([]int(nil), e.FDs...)
		h.processes[e.Key] = &e
	case opForget:
		delete(h.processes, e.Key)
	case opPut:
		h.stored[e.Key] = e.FDs
	case opDrop:
		delete(h.stored, e.Key)
	case opBuffer:
		h.buffers[e.FDs[0]] = true
	case opUnmake:
		delete(h.buffers, e.FDs[0])
	case opExit:
		if p != nil {
			p.Exit, p.FDs[slotPidFD] = e.Exit, -1
		}
	case opLog:
		if p != nil {
			p.FDs[slotLog] = e.FDs[0]
		}
	case opEnd:
		if p != nil {
			p.FDs[slotStdout+e.Stream] = -1
			if slotStdout+e.Stream == slotConsole { // closed with it
				p.FDs[slotScratchR], p.FDs[slotScratchW] = -1, -1
			}
		}
	}
}

// entries are a journal that amounts to the same.
func (h *heritage) entries() (all []entry) {
	all = append(all, entry{Op: opSerial, Serial: h.serial})
	for fd := range maps.Keys(h.buffers) {
		all = append(all, entry{Op: opBuffer, FDs: []int{fd}})
	}
	for _, p := range h.processes {
		all = append(all, *p) // with its exit
	}
	for key, fds := range h.stored {
		all = append(all, entry{Op: opPut, Key: key, FDs: fds})
	}
	return all
}

// readHeritage reads a journal. What a killed keeper had not finished writing is no line.
func readHeritage(r io.Reader) (*heritage, error) {
	h := newHeritage()
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if !e.whole() {
			return nil, fmt.Errorf("read journal: %s of %q with %d descriptors", e.Op, e.Key, len(e.FDs))
		}
		h.apply(e)
	}
}

// whole says whether the entry has the descriptors that are looked for.
func (e *entry) whole() bool {
	switch e.Op {
	case opRun:
		return len(e.FDs) == runSlots
	case opLog, opBuffer, opUnmake:
		return len(e.FDs) == 1
	case opEnd:
		return e.Stream >= 0 && e.Stream < slotLog-slotStdout
	}
	return true
}

// journal tells an heir which descriptor is what: at any moment, since nobody knows when a keeper is killed. What is in
// it has descriptors that are open: written down after opening, and struck out before closing.
type journal struct {
	log *slog.Logger

	mu      sync.Mutex
	file    *os.File
	size    int64
	least   int64 // size when it was written anew
	lacking bool  // an entry could not be written
	now     *heritage
	publish func(fd int) error // tells where the journal is; nil: nobody would want to know
}

func newJournal(log *slog.Logger) (*journal, error) {
	f, err := journalFile()
	return &journal{log: log, file: f, now: newHeritage()}, err
}

func journalFile() (*os.File, error) {
	fd, err := unix.MemfdCreate(journalName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), journalName), nil
}

// note writes an entry. Where that fails (ENOSPC without memory to commit, ENOMEM at the cgroup's limit), the journal is written anew, now
// or with the next entry: an heir would take a descriptor that is not struck out for what it was before.
func (j *journal) note(e entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now.apply(e)
	if err := j.append(e); err != nil {
		j.log.Error("write journal", "err", err)
		j.lacking = true
	}
	if j.lacking || j.size > max(journalMin, 4*j.least) {
		if err := j.rewrite(); err != nil {
			j.log.Error("write journal anew", "err", err)
		}
	}
}

// append writes lines at the end. Preconditions: mu held.
func (j *journal) append(entries ...entry) error {
	var text bytes.Buffer
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	if _, err := j.file.WriteAt(text.Bytes(), j.size); err != nil {
		return err // a part of a line is written over by the next one, or is none
	}
	j.size += int64(text.Len())
	return nil
}

// rewrite leaves history out. The old journal holds until the new one is published. Preconditions: mu held.
func (j *journal) rewrite() error {
	f, err := journalFile()
	if err != nil {
		return err
	}
	next := &journal{file: f}
	if err = next.append(j.now.entries()...); err == nil && j.publish != nil {
		err = j.publish(int(f.Fd()))
	}
	if err != nil {
		f.Close()
		return err
	}
	j.file.Close()
	j.file, j.size, j.least, j.lacking = f, next.size, next.size, false
	return nil
}

// published has the journal's place told, now and whenever it changes.
func (j *journal) published(publish func(fd int) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.publish = publish
	return publish(int(j.file.Fd()))
}

// number is the descriptor of a file, which keeps its mode; -1: none, or closed.
func number(f *os.File) int {
	n := -1
	if f == nil {
		return n
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return n
	}
	_ = raw.Control(func(fd uintptr) { n = int(fd) }) // fails for a file that is closed
	return n
}

func numbers(files []*os.File) []int {
	all := make([]int, len(files))
	for i, f := range files {
		all[i] = number(f)
	}
	return all
}
