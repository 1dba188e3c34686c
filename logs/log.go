package logs

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tare/crash"
)

// reopenBound is how long Reopen waits for the end of a line that is being written.
const reopenBound = 500 * time.Millisecond

// ErrClosed is what Reopen of a closed Log gives.
var ErrClosed = errors.New("log is closed")

// Log is one container's log file.
type Log struct {
	host      Host
	file      atomic.Pointer[os.File] // nil: closed, or no log is kept
	dropped   atomic.Uint64
	reopening sync.Mutex // one Reopen at a time

	// turn is held by the stream that looks at the clock and appends, so that no line is older than
	// the one before it, and by who replaces the file, so that no two files have lines of one reading (carry.go). Before mu.
	turn sync.Mutex

	mu      sync.Mutex    // guards what follows, and is held while the file is written or replaced
	next    *os.File      // waiting to replace file between two lines
	swapped chan struct{} // closed when next has replaced file
	open    int           // streams whose last record was P
}

// Host is what a Log needs of whom it belongs to.
type Host struct {
	Spool    *Spool
	Failed   func(error)    // is told the first error of writing
	Replaced func(*os.File) // is told which file, or nil, takes the place of one that is about to be closed; may be nil
}

// New takes over a file, opened for appending (O_APPEND). With nil, all output is dropped.
func New(file *os.File, h Host) *Log {
	l := &Log{host: h}
	l.file.Store(file)
	return l
}

// Reopen replaces the file, which the kubelet has renamed, and closes the old one; the Log takes
// over the new one in any case. Lines are kept in one piece, unless one is written for longer than
// reopenBound. What an old file without a name holds may be carried over, see carry.
func (l *Log) Reopen(file *os.File) error {
	l.reopening.Lock()
	defer l.reopening.Unlock()
	swapped, err := l.offer(file)
	if err != nil {
		file.Close()
		return err
	}
	timer := time.NewTimer(reopenBound)
	defer timer.Stop()
	select {
	case <-swapped:
	case <-timer.C:
		l.turn.Lock()
		defer l.turn.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.swap()
	}
	return nil
}

// offer has the file replace the present one at the next end of a line.
func (l *Log) offer(file *os.File) (swapped chan struct{}, err error) {
	l.turn.Lock()
	defer l.endTurn()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file.Load() == nil {
		return nil, ErrClosed
	}
	l.next, l.swapped = file, make(chan struct{})
	return l.swapped, nil
}

// endTurn gives the turn back. Between two lines, next replaces file.
func (l *Log) endTurn() {
	defer l.turn.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 0 {
		l.swap()
	}
}

// swap lets next replace file, if it still has to. Preconditions: mu held.
func (l *Log) swap() {
	if l.next == nil {
		return
	}
	lost, err := carry(l.file.Load(), l.next)
	l.drop(lost, err)
	crash.Point("log.carried")
	if l.host.Replaced != nil {
		l.host.Replaced(l.next)
	}
	crash.Point("log.replacing")
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
		if l.host.Replaced != nil {
			l.host.Replaced(nil)
		}
		f.Close()
	}
}

// File returns the file, or nil; it stays the Log's, which may close it at any time. It never
// waits, not for a disk that hangs either.
func (l *Log) File() *os.File { return l.file.Load() }

// Dropped returns how many bytes of records could not be written. It never waits.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// append writes whole records, which n bytes of a buffer's content have become, by one write(2). What cannot be written
// (a full disk) is counted and dropped: a container never stands still for its log. opened is by how much the number
// of streams amid a line changes.
func (l *Log) append(records []byte, b *Buffer, n, opened int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(records) > 0 {
		b.claim(n, len(records), l.size())
		crash.Point("log.claimed")
		if l.file.Load() != nil {
			l.write(records)
		}
		crash.Point("log.written")
		b.written()
	}
	l.open += opened
}

// size is the file's now. Preconditions: mu held.
func (l *Log) size() int64 {
	var st unix.Stat_t
	if f := l.file.Load(); f != nil {
		// A failure counts as a file that has nothing yet, so that a claim counts as written.
		_ = unix.Fstat(int(f.Fd()), &st)
	}
	return st.Size
}

// write writes records, whole ones or none. Preconditions: mu held.
func (l *Log) write(records []byte) {
	n, err := l.file.Load().Write(records)
	if err == nil {
		return
	}
	l.drop(int64(len(records)-l.untear(records[:n])), err)
}

// drop counts bytes that could not be written, and tells the first error.
func (l *Log) drop(n int64, err error) {
	if err != nil && l.dropped.Load() == 0 {
		l.host.Failed(err)
	}
	l.dropped.Add(uint64(n))
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
