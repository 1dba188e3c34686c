package logs

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long one chunk may wait for a Follower. It is there for a reader that always reads
// and is scheduled late, on a node with more work than processors; a reader that waits for somebody else has
// to buffer. A container whose Follower does not read at all is held up that long, once.
const patience = time.Second

// ErrBehind is why a Follower ended that was not read from in time.
var ErrBehind = errors.New("follower fell behind")

// Follower gets a copy of a Stream's output.
type Follower struct {
	from  *followers
	file  *os.File
	once  sync.Once
	ended func(error)
}

// Follow has what the stream reads from now on copied into file, too, which it takes over: the
// writing end of a pipe in non-blocking mode (see Pollable). When that is over, the file is closed
// and ended is called, once: with ErrBehind, after which the container and the log go on without the
// Follower, or with nil, because the output has ended, nobody reads any more, or after Close.
func (s *Stream) Follow(file *os.File, ended func(error)) *Follower {
	f := &Follower{from: &s.followers, file: file, ended: ended}
	if !s.followers.add(f) {
		f.end(nil)
	}
	return f
}

// Close ends the copying.
func (f *Follower) Close() {
	f.from.remove(f)
	f.end(nil)
}

func (f *Follower) end(err error) {
	f.once.Do(func() {
		f.file.Close()
		f.ended(err)
	})
}

// write copies a chunk; false: the Follower has ended.
func (f *Follower) write(chunk []byte) bool {
	err := f.file.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = f.file.Write(chunk)
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.end(ErrBehind)
	default: // EPIPE, or Close
		f.end(nil)
	}
	return false
}

// followers are those of one stream. Copying takes no lock, and without any costs one load.
type followers struct {
	list atomic.Pointer[[]*Follower] // nil: none. What it points at is never changed.

	mu   sync.Mutex // guards changes of list, and over
	over bool       // the stream has ended
}

// add reports false if the stream has ended.
func (fs *followers) add(f *Follower) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.over {
		return false
	}
	list := []*Follower{f}
	if old := fs.list.Load(); old != nil {
		list = append(slices.Clone(*old), f)
	}
	fs.list.Store(&list)
	return true
}

func (fs *followers) remove(f *Follower) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	old := fs.list.Load()
	if old == nil {
		return
	}
	list := slices.DeleteFunc(slices.Clone(*old), func(g *Follower) bool { return g == f })
	if len(list) == 0 {
		fs.list.Store(nil)
		return
	}
	fs.list.Store(&list)
}

func (fs *followers) write(chunk []byte) {
	list := fs.list.Load()
	if list == nil {
		return
	}
	for _, f := range *list {
		if !f.write(chunk) {
			fs.remove(f)
		}
	}
}

// end ends all of them, and those to come.
func (fs *followers) end() {
	fs.mu.Lock()
	fs.over = true
	list := fs.list.Swap(nil)
	fs.mu.Unlock()
	if list == nil {
		return
	}
	for _, f := range *list {
		f.end(nil)
	}
}
