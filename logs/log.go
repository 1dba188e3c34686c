package logs

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// reopenBound is how long Reopen waits for the end of a line that is being written.
const reopenBound = 500 * time.Millisecond

// ErrClosed is what Reopen of a closed Log gives.
var ErrClosed = errors.New("log is closed")

// Log is one container's log file.
type Log struct {
	failed    func(error)
	file      atomic.Pointer[os.File] // nil: closed, or no log is kept
	dropped   atomic.Uint64
	reopening sync.Mutex // one Reopen at a time

	// turn is held by the stream that looks at the clock and appends, so that no line is older than
	// the one before it. Before mu.
	turn sync.Mutex

	mu      sync.Mutex    // guards what follows, and is held while the file is written or replaced
	next    *os.File      // waiting to replace file at the end of a line
	swapped chan struct{} // closed when next has replaced file
	open    int           // streams whose last record was P
}

// New takes over a file, opened for appending (O_APPEND). With nil, all output is dropped. The
// first error of writing is reported to failed.
func New(file *os.File, failed func(error)) *Log {
	l := &Log{failed: failed}
	l.file.Store(file)
	return l
}

// Reopen replaces the file, which the kubelet has renamed, and closes the old one; the Log takes
// over the new one in any case. Lines are kept in one piece, unless one is written for longer than
// reopenBound.
func (l *Log) Reopen(file *os.File) error {
	l.reopening.Lock()
	defer l.reopening.Unlock()
	l.mu.Lock()
	if l.file.Load() == nil {
		l.mu.Unlock()
		file.Close()
		return ErrClosed
	}
	l.next, l.swapped = file, make(chan struct{})
	swapped := l.swapped
	if l.open == 0 {
		l.swap()
	}
	l.mu.Unlock()

	timer := time.NewTimer(reopenBound)
	defer timer.Stop()
	select {
	case <-swapped:
	case <-timer.C:
		l.mu.Lock()
		l.swap()
		l.mu.Unlock()
	}
	return nil
}

// swap lets next replace file, if it still has to. Preconditions: mu held.
func (l *Log) swap() {
	if l.next == nil {
		return
	}
	l.file.Swap(l.next).Close()
	l.next = nil
	close(l.swapped)
}

// Close closes the file. Output that still comes is dropped.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swap()
	if f := l.file.Swap(nil); f != nil {
		f.Close()
	}
}

// File returns the file, or nil; it stays the Log's, which may close it at any time. It never
// waits, not for a disk that hangs either.
func (l *Log) File() *os.File { return l.file.Load() }

// Dropped returns how many bytes of records could not be written. It never waits.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// append writes whole records by one write(2). What cannot be written (a full disk) is counted and
// dropped: a container never stands still for its log. opened is by how much the number of
// streams amid a line changes.
func (l *Log) append(records []byte, opened int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(records) > 0 && l.file.Load() != nil {
		l.write(records)
	}
	l.open += opened
	if l.open == 0 {
		l.swap()
	}
}

// write writes records, whole ones or none. Preconditions: mu held.
func (l *Log) write(records []byte) {
	n, err := l.file.Load().Write(records)
	if err == nil {
		return
	}
	if l.dropped.Load() == 0 {
		l.failed(err)
	}
	l.dropped.Add(uint64(len(records) - l.untear(records[:n])))
}

// untear cuts the file back to the last record that was written whole and returns how much of
// written is left. Nobody else appends to the file.
func (l *Log) untear(written []byte) int {
	whole := bytes.LastIndexByte(written, '\n') + 1
	torn := int64(len(written) - whole)
	if torn == 0 {
		return whole
	}
	f := l.file.Load()
	if info, err := f.Stat(); err == nil && info.Size() >= torn {
		// A failure leaves half a record, which readers skip.
		_ = f.Truncate(info.Size() - torn)
	}
	return whole
}
