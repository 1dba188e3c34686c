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

	"tare/nsutil"
)

const (
	// chunkSize is what one read takes at most: a pipe's usual capacity, pipe(7).
	chunkSize = 64 << 10
	// recordsSize is what one write takes. A chunk of lines of 80 bytes makes 100 KiB of records.
	recordsSize = 128 << 10
	// quiet is how long the beginning of a line waits for the rest before it is written as P.
	quiet = 500 * time.Millisecond
)

// Buffers exist only while output flows; a silent stream has none.
var (
	chunks  = sync.Pool{New: func() any { return new([maxContent + chunkSize]byte) }}
	records = sync.Pool{New: func() any { return new([recordsSize]byte) }}
)

// Stream copies one output of a container into its Log.
type Stream struct {
	log  *Log
	file *os.File
	raw  syscall.RawConn
	fmt  format

	tail  []byte // of the output: a line's beginning, at most maxContent
	timed bool   // a read deadline is set

	chunk *[maxContent + chunkSize]byte // during a read that found data
	held  int                           // how much of chunk was the tail
	n     int
	err   error

	followers followers
}

// NewStream prepares the copying of file, which is a pipe's or a terminal's and in non-blocking mode (see
// Pollable), under the name of a stream. It takes over the file.
func NewStream(l *Log, file *os.File, name string, tty bool) (*Stream, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("poll %s: %w", name, err)
	}
	return &Stream{log: l, file: file, raw: raw, fmt: format{stream: name, tty: tty}}, nil
}

// Pollable returns a duplicate of file, in non-blocking mode, that waits in the runtime's
// poller instead of in a thread, and closes file. The mode belongs to the open file description:
// whoever shares it sees the change, fcntl(2).
func Pollable(file *os.File) (*os.File, error) {
	defer file.Close()
	return nsutil.DuplicateNonblock(file)
}

// File is what the stream reads; it stays the stream's.
func (s *Stream) File() *os.File { return s.file }

// Close makes Copy return.
func (s *Stream) Close() { s.file.Close() }

// Copy reads until the end of the output and closes the file. The end is when the last writer has
// closed its end, also that of a terminal (EIO), or Close.
func (s *Stream) Copy() error {
	defer s.end()
	try := s.try
	for {
		s.err = nil
		perr := s.raw.Read(try)
		switch {
		case errors.Is(perr, os.ErrDeadlineExceeded):
			s.flush()
		case perr != nil || s.err == io.EOF: // without a deadline, only Close ends the waiting
			return nil
		case s.err != nil:
			return os.NewSyscallError("read", s.err)
		default:
			s.write()
		}
	}
}

// end writes what is left and closes the file. A line without an end stays so.
func (s *Stream) end() {
	s.flush()
	if s.fmt.open {
		s.log.append(nil, -1)
	}
	s.file.Close()
	s.followers.end()
}

// try is one attempt to read: it reports false to be called again when there is data.
func (s *Stream) try(fd uintptr) bool {
	s.chunk = chunks.Get().(*[maxContent + chunkSize]byte)
	s.held = copy(s.chunk[:], s.tail)
	n, err := readAgain(int(fd), s.chunk[s.held:])
	if err == nil && n > 0 {
		s.n = s.held + n
		return true
	}
	s.release()
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

func readAgain(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// expectRest bounds the waiting for the rest of a line. A stream that waits for a line keeps no
// memory for it.
func (s *Stream) expectRest() {
	if len(s.tail) == 0 {
		s.tail = nil
		return
	}
	s.timed = s.file.SetReadDeadline(time.Now().Add(quiet)) == nil
}

// write appends the records of the chunk to the log and keeps the rest.
func (s *Stream) write() {
	defer s.release()
	s.untime()
	s.followers.write(s.chunk[s.held:s.n])
	if s.log.File() == nil {
		return
	}
	buf := records.Get().(*[recordsSize]byte)
	out, data := buf[:0], s.chunk[:s.n]
	s.log.turn.Lock()
	defer s.log.turn.Unlock()
	was := s.fmt.open
	s.fmt.begin(time.Now())
	for {
		if len(out)+len(s.fmt.head)+maxContent+3 > recordsSize {
			was = s.emit(out, was)
			out = buf[:0]
		}
		var n int
		if out, n = s.fmt.next(out, data); n == 0 {
			break
		}
		data = data[n:]
	}
	s.emit(out, was)
	s.tail = append(s.tail[:0], data...)
	records.Put(buf)
}

func (s *Stream) release() {
	chunks.Put(s.chunk)
	s.chunk = nil
}

// untime takes off the deadline of expectRest.
func (s *Stream) untime() {
	if s.timed {
		s.file.SetReadDeadline(time.Time{})
		s.timed = false
	}
}

// emit hands records to the log, and returns whether a line is open now; was, whether one was
// before them.
func (s *Stream) emit(out []byte, was bool) bool {
	if len(out) > 0 {
		s.log.append(out, opened(was, s.fmt.open))
	}
	return s.fmt.open
}

// flush writes the beginning of a line that is not expected to end soon.
func (s *Stream) flush() {
	s.untime()
	if len(s.tail) > 0 {
		s.log.turn.Lock()
		defer s.log.turn.Unlock()
		was := s.fmt.open
		s.fmt.begin(time.Now())
		s.emit(s.fmt.rest(nil, s.tail), was)
	}
	s.tail = nil
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
