package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tare/crash"
	"tare/nsutil"
)

const (
	// recordsSize is what one write takes. A chunk of lines of 80 bytes makes 100 KiB of records.
	recordsSize = 128 << 10
	// quiet is how long the beginning of a line waits for the rest before it is written as P.
	quiet = 500 * time.Millisecond
	// scarcity is waited before a read that the host had no descriptor or memory for is tried again.
	scarcity = 100 * time.Millisecond
)

// records exist only while output flows.
var records = sync.Pool{New: func() any { return new([recordsSize]byte) }}

// Source is what a Stream copies.
type Source struct {
	File  *os.File // a pipe or a terminal, in non-blocking mode (see Pollable)
	Name  string   // of the stream
	Owner uint64   // tells it from all others of the spool, also those of earlier processes; not 0
	// Scratch is an empty pipe that a terminal's output passes through, in non-blocking mode; its ends are nil for a pipe.
	// Of a terminal, the \r of \r\n is stripped.
	Scratch [2]*os.File
	Ended   func() // is told the end before the files are closed; may be nil
}

func (s *Source) tty() bool { return s.Scratch[0] != nil }

// Close closes the files.
func (s *Source) Close() {
	for _, f := range append([]*os.File{s.File}, s.Scratch[:]...) {
		if f != nil {
			f.Close()
		}
	}
}

// Stream copies one output of a container into its Log.
type Stream struct {
	log     *Log
	from    Source
	raw     syscall.RawConn
	scratch [2]int // descriptors
	fmt     format

	buf   *Buffer // while there is output, or the beginning of a line
	fresh []byte  // what the last read has brought
	timed bool    // a read deadline is set
	err   error

	followers followers
}

// NewStream prepares the copying of a source, which it takes over, also when it fails.
func NewStream(l *Log, from Source) (*Stream, error) {
	s := &Stream{log: l, from: from, fmt: format{stream: from.Name, tty: from.tty()}}
	var err error
	if s.raw, err = from.File.SyscallConn(); err != nil {
		from.Close()
		return nil, fmt.Errorf("poll %s: %w", from.Name, err)
	}
	if from.tty() {
		s.scratch = [2]int{int(from.Scratch[0].Fd()), int(from.Scratch[1].Fd())}
	}
	if s.buf = l.host.Spool.inherited(from.Owner); s.buf == nil {
		return s, nil
	}
	if err := s.buf.settle(l.File()); err != nil {
		l.host.Spool.put(s.buf)
		s.buf = nil
		l.host.Failed(err) // its output is lost, the stream goes on
	}
	return s, nil
}

// Source is what the stream reads; it stays the stream's.
func (s *Stream) Source() Source { return s.from }

// Close makes Copy return.
func (s *Stream) Close() { s.from.File.Close() }

// Copy reads until the end of the output and closes the source. The end is when the last writer has
// closed its end, also that of a terminal (EIO), or Close.
func (s *Stream) Copy() error {
	defer s.end()
	if s.buf != nil {
		s.write()
	}
	try := s.try
	for {
		s.err = nil
		perr := s.raw.Read(try)
		switch {
		case errors.Is(perr, os.ErrDeadlineExceeded):
			s.flush()
		case perr != nil || s.err == io.EOF: // without a deadline, only Close ends the waiting
			return nil
		case nsutil.Scarce(s.err): // the output waits in the pipe: whoever writes must not be told that nobody reads
			time.Sleep(scarcity)
		case s.err != nil:
			return os.NewSyscallError("splice", s.err)
		default:
			s.write()
		}
	}
}

// end writes what is left and closes the source. A line without an end stays so.
func (s *Stream) end() {
	s.flush()
	if s.fmt.open {
		s.log.turn.Lock()
		s.log.append(nil, nil, 0, -1)
		s.log.endTurn()
	}
	if s.from.Ended != nil {
		s.from.Ended()
	}
	s.from.Close()
	s.followers.end()
}

// try is one attempt to read: it reports false to be called again when there is data.
func (s *Stream) try(fd uintptr) bool {
	if s.buf == nil {
		if s.buf, s.err = s.log.host.Spool.take(s.from.Owner, nil); s.err != nil {
			return true
		}
	}
	var err error
	s.fresh, err = s.read(int(fd))
	if err == nil && len(s.fresh) > 0 {
		crash.Point("log.read")
		return true
	}
	if len(s.buf.content()) == 0 {
		s.release()
	}
	switch err {
	case unix.EAGAIN:
		s.expectRest()
		return false
	case nil, unix.EIO: // EIO: the terminal's other side is closed, pty(7)
		err = io.EOF
	}
	s.err = err
	return true
}

// read takes what is there. A terminal's output is moved into a pipe first: it can be lost neither on the way there nor on
// the way from there. What an earlier process has left in it comes first.
func (s *Stream) read(fd int) ([]byte, error) {
	if !s.from.tty() {
		return s.buf.fill(fd)
	}
	if data, err := s.buf.fill(s.scratch[0]); err != unix.EAGAIN {
		return data, err
	}
	n, err := unix.Splice(fd, nil, s.scratch[1], nil, chunkSize, unix.SPLICE_F_NONBLOCK)
	if err != nil || n == 0 {
		return nil, err
	}
	crash.Point("log.terminal-read")
	return s.buf.fill(s.scratch[0])
}

// expectRest bounds the waiting for the rest of a line. A stream that waits for a line keeps no
// memory for it.
func (s *Stream) expectRest() {
	if s.buf != nil {
		s.timed = s.from.File.SetReadDeadline(time.Now().Add(quiet)) == nil
	}
}

// write appends the records of the buffer's content to the log and keeps the rest.
func (s *Stream) write() {
	s.untime()
	s.followers.write(s.fresh)
	if s.log.File() == nil {
		s.release()
		return
	}
	buf := records.Get().(*[recordsSize]byte)
	defer records.Put(buf)
	out, data := buf[:0], s.buf.content()
	s.log.turn.Lock()
	defer s.log.endTurn()
	was := s.fmt.open
	s.fmt.begin(time.Now())
	taken := 0
	for {
		if len(out)+len(s.fmt.head)+maxContent+3 > recordsSize {
			was, taken = s.emit(out, taken, was), 0
			out = buf[:0]
		}
		var n int
		if out, n = s.fmt.next(out, data); n == 0 {
			break
		}
		data = data[n:]
		taken += n
	}
	s.emit(out, taken, was)
	s.keep(data)
}

// keep puts the rest of the content to the front of a buffer, so that there is room for a chunk again. Without another
// buffer the rest does not wait for the end of its line.
func (s *Stream) keep(rest []byte) {
	if len(rest) == 0 {
		s.release()
		return
	}
	if s.buf.start() == 0 {
		return
	}
	next, err := s.log.host.Spool.take(s.from.Owner, rest)
	if err != nil {
		s.emit(s.fmt.rest(nil, rest), len(rest), s.fmt.open)
	}
	crash.Point("log.rest-kept")
	s.release()
	s.buf = next
}

func (s *Stream) release() {
	s.log.host.Spool.put(s.buf)
	s.buf, s.fresh = nil, nil
}

// untime takes off the deadline of expectRest.
func (s *Stream) untime() {
	if s.timed {
		s.from.File.SetReadDeadline(time.Time{})
		s.timed = false
	}
}

// emit hands records of the next n bytes of content to the log, and returns whether a line is open now; was, whether one
// was before them.
func (s *Stream) emit(out []byte, n int, was bool) bool {
	if len(out) > 0 {
		s.log.append(out, s.buf, n, opened(was, s.fmt.open))
	}
	return s.fmt.open
}

// flush writes the beginning of a line that is not expected to end soon.
func (s *Stream) flush() {
	s.untime()
	if s.buf == nil {
		return
	}
	if rest := s.buf.content(); len(rest) > 0 {
		s.log.turn.Lock()
		defer s.log.endTurn()
		was := s.fmt.open
		s.fmt.begin(time.Now())
		s.emit(s.fmt.rest(nil, rest), len(rest), was)
	}
	s.release()
}

func opened(was, is bool) int {
	switch {
	case is && !was:
		return 1
	case was && !is:
		return -1
	}
	return 0
}
