package logs

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// chunkSize is what one read takes at most: a pipe's usual capacity, pipe(7).
	chunkSize = 64 << 10
	headSize  = 4 << 10
	// bufferSize has room for a head, the beginning of a line, and a chunk.
	bufferSize = headSize + maxContent + chunkSize
	// keptBuffers are kept while nothing flows.
	keptBuffers = 4
)

// The words of a Buffer's head. Each is written by one store, in an order in which any prefix makes sense.
const (
	wordOwner  = 8 * iota // whose output it is; 0: nobody's
	wordSerial            // of two with one owner, the higher one counts: the other one's content was copied
	wordStart             // up to here the content is in the log
	wordBegun             // up to here it is being written, if that is more than start
	wordSize              // of the log file before that
	wordLength            // of the records
)

// Buffer holds output on its way from a pipe into the log: the content between start and end. It lies in a memory file, so
// that it outlives the process (package keeper/server), and says at any moment what has become of it:
//
// A chunk comes by splice(2), and the file's offset, which the kernel moves in the same call, says where it ends. What has
// been written to the log is told by the log's size, which is noted before.
type Buffer struct {
	file *os.File
	mem  []byte
	end  int
}

func newBuffer() (*Buffer, error) {
	fd, err := unix.MemfdCreate("container output", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // MFD_NOEXEC_SEAL: Linux 6.3
		fd, err = unix.MemfdCreate("container output", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "container output")
	if err := f.Truncate(bufferSize); err != nil {
		f.Close()
		return nil, err
	}
	return openBuffer(f)
}

// openBuffer takes over the file.
func openBuffer(f *os.File) (*Buffer, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, bufferSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		err = unix.Madvise(mem, unix.MADV_DONTFORK)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map buffer: %w", err)
	}
	return &Buffer{file: f, mem: mem}, nil
}

func (b *Buffer) word(at int) uint64       { return binary.NativeEndian.Uint64(b.mem[at:]) }
func (b *Buffer) setWord(at int, v uint64) { binary.NativeEndian.PutUint64(b.mem[at:], v) }

func (b *Buffer) start() int { return int(b.word(wordStart)) }

// content is what is not in the log yet.
func (b *Buffer) content() []byte { return b.mem[headSize+b.start() : headSize+b.end] }

// seek makes the content end here.
func (b *Buffer) seek(end int) error {
	b.end = end
	_, err := b.file.Seek(int64(headSize+end), 0)
	return err
}

// fill takes from a pipe what is there, and returns it.
func (b *Buffer) fill(pipe int) ([]byte, error) {
	for {
		n, err := unix.Splice(pipe, nil, int(b.file.Fd()), nil, bufferSize-headSize-b.end, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		b.end += int(n)
		return b.mem[headSize+b.end-int(n) : headSize+b.end], nil
	}
}

// claim notes that n bytes of content are about to be written as records to a log of this size.
func (b *Buffer) claim(n, records int, size int64) {
	b.setWord(wordSize, uint64(size))
	b.setWord(wordLength, uint64(records))
	b.setWord(wordBegun, uint64(b.start()+n))
}

// written notes that what was claimed is written, or dropped.
func (b *Buffer) written() { b.setWord(wordStart, b.word(wordBegun)) }

// settle finds out whether the last process had written what it had claimed. A part is taken back.
func (b *Buffer) settle(log *os.File) error {
	at, err := b.file.Seek(0, 1)
	if err != nil {
		return err
	}
	b.end = int(at) - headSize
	if b.start() > b.end || b.end > bufferSize-headSize {
		return fmt.Errorf("buffer's content is from %d to %d", b.start(), b.end)
	}
	if b.word(wordBegun) <= b.word(wordStart) {
		return nil
	}
	var st unix.Stat_t
	if log != nil {
		if err := unix.Fstat(int(log.Fd()), &st); err != nil {
			return err
		}
	}
	before, records := int64(b.word(wordSize)), int64(b.word(wordLength))
	switch {
	case log == nil || st.Size < before || st.Size >= before+records:
		b.written()
	case st.Size > before:
		return log.Truncate(before)
	}
	return nil
}

func (b *Buffer) close() {
	_ = unix.Munmap(b.mem) // fails for what is no mapping only
	b.file.Close()
}

// Spool has the buffers of many streams. Those of a silent stream have been given back.
type Spool struct {
	// noted is told the descriptor of every buffer when it is made, and before it is closed.
	noted func(fd int, made bool)

	mu     sync.Mutex // guards what follows
	serial uint64
	free   []*Buffer
	left   []*Buffer // by an earlier process
}

// NewSpool makes an empty spool.
func NewSpool(noted func(fd int, made bool)) *Spool { return &Spool{noted: noted} }

// Inherit takes over a buffer of an earlier process's.
func (s *Spool) Inherit(f *os.File) error {
	b, err := openBuffer(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted(int(f.Fd()), true)
	s.serial = max(s.serial, b.word(wordSerial))
	if b.word(wordOwner) == 0 {
		s.free = append(s.free, b)
	} else {
		s.left = append(s.left, b)
	}
	return nil
}

// inherited returns the buffer that an owner had in an earlier process, or nil.
func (s *Spool) inherited(owner uint64) *Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var latest *Buffer
	s.left = slices.DeleteFunc(s.left, func(b *Buffer) bool {
		if b.word(wordOwner) != owner {
			return false
		}
		if latest == nil || latest.word(wordSerial) < b.word(wordSerial) {
			latest, b = b, latest
		}
		if b != nil {
			s.putLocked(b)
		}
		return true
	})
	return latest
}

// take gives a buffer with this content.
func (s *Spool) take(owner uint64, content []byte) (b *Buffer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.free) - 1; last >= 0 {
		b, s.free = s.free[last], s.free[:last]
	} else if b, err = newBuffer(); err != nil {
		return nil, err
	} else {
		s.noted(int(b.file.Fd()), true)
	}
	b.setWord(wordStart, 0)
	b.setWord(wordBegun, 0)
	copy(b.mem[headSize:], content)
	if err := b.seek(len(content)); err != nil {
		s.putLocked(b)
		return nil, err
	}
	s.serial++
	b.setWord(wordSerial, s.serial)
	b.setWord(wordOwner, owner)
	return b, nil
}

func (s *Spool) put(b *Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(b)
}

// putLocked is put with mu held.
func (s *Spool) putLocked(b *Buffer) {
	b.setWord(wordOwner, 0)
	if len(s.free) < keptBuffers {
		s.free = append(s.free, b)
		return
	}
	s.noted(int(b.file.Fd()), false)
	b.close()
}
