package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// source is one file of a cgroup that usage is read from. An empty controller is cgroup core's.
type source struct {
	controller, file string
	detail           bool // for ReadAll only
	list             bool // of processes: see Meter.list
	parse            func(content []byte, u *Usage) error
}

// Meter reads the usage of one cgroup, each time in one pass over files that it keeps open. It may be used
// by several goroutines. What is open does not hold up the cgroup's removal; reading then is
// ErrNotFound.
type Meter struct {
	dir     string
	sources []source
	at      []*hierarchy // of each source; nil: this host has no such controller

	mu  sync.Mutex // guards fds
	fds []int      // of each source; 0: not opened yet, -1: there is no such file
}

// Meter returns a meter of a container's cgroup, which need not exist yet. The caller closes it.
func (t *Tree) Meter(p Path) (*Meter, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	return t.meter(dir), nil
}

// ParentMeter returns a meter of the cgroup that a request names as parent, in the form cgroup_parent has
// it. The caller closes it.
func (t *Tree) ParentMeter(parent string) (*Meter, error) {
	dir, err := t.parentDir(parent)
	if err != nil {
		return nil, fmt.Errorf("cgroup parent %q: %w", parent, err)
	}
	return t.meter(dir), nil
}

func (t *Tree) meter(dir string) *Meter {
	m := &Meter{dir: dir, sources: sourcesV1()}
	if t.v2() {
		m.sources = sourcesV2()
	}
	for _, s := range m.sources {
		h := t.of(s.controller)
		if s.controller == "" {
			h = t.killer()
		}
		m.at = append(m.at, h)
	}
	m.fds = make([]int, len(m.sources))
	return m
}

// Read reads all but the detail. ErrNotFound if there is no such cgroup.
func (m *Meter) Read() (*Usage, error) { return m.read(false) }

// ReadAll reads the detail too.
func (m *Meter) ReadAll() (*Usage, error) { return m.read(true) }

// Processes lists the processes in this cgroup itself, by their ids in our PID namespace.
func (m *Meter) Processes() ([]int, error) {
	u := &Usage{Detail: &Detail{}}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.sources {
		if !s.list {
			continue
		}
		content, err := m.content(i, buf)
		if err == nil {
			err = s.parse(content, u)
		}
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup /%s: %w", m.dir, notFound(err))
		}
	}
	return u.Detail.Processes, nil
}

func (m *Meter) read(detail bool) (*Usage, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &Usage{Time: time.Now()} // not before it is our turn: rates are by it
	if detail {
		u.Detail = &Detail{}
	}
	seen := false
	for i, s := range m.sources {
		if s.detail && !detail {
			continue
		}
		content, err := m.content(i, buf)
		if err == nil && content != nil {
			seen = true
			err = s.parse(content, u)
		}
		if err != nil {
			return nil, fmt.Errorf("read usage of cgroup /%s: %s: %w", m.dir, s.file, notFound(err))
		}
	}
	if !seen {
		m.forget() // it may be made later
		return nil, fmt.Errorf("read usage of cgroup /%s: %w", m.dir, notFound(unix.ENOENT))
	}
	return u, nil
}

// content reads one file; nil if there is none. Precondition: mu is held.
func (m *Meter) content(i int, buf *[]byte) ([]byte, error) {
	h, s := m.at[i], m.sources[i]
	if h == nil || m.fds[i] < 0 {
		return nil, nil
	}
	if s.list {
		return m.list(i, buf)
	}
	if m.fds[i] == 0 {
		fd, err := h.open(m.dir, s.file, unix.O_RDONLY)
		if errors.Is(err, unix.ENOENT) {
			m.fds[i] = -1
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		m.fds[i] = fd
	}
	content, err := readWhole(m.fds[i], buf)
	if err == unix.EOPNOTSUPP { // pressure files with psi=0, Documentation/accounting/psi.rst
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: h.abs(path.Join(m.dir, s.file)), Err: err}
	}
	return content, nil
}

// list reads a list of processes, for which the file has to be opened anew: on v1 an open one may show what
// it showed up to a second ago (kernel/cgroup/cgroup-v1.c, cgroup_pidlist_start).
func (m *Meter) list(i int, buf *[]byte) ([]byte, error) {
	h, file := m.at[i], m.sources[i].file
	fd, err := h.open(m.dir, file, unix.O_RDONLY)
	if gone(err) {
		return nil, nil // the other files tell
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	content, err := readWhole(fd, buf)
	if err == unix.EOPNOTSUPP { // a threaded cgroup, see hierarchy.procs
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: h.abs(path.Join(m.dir, file)), Err: err}
	}
	return content, nil
}

// forget closes the files. Precondition: mu is held.
func (m *Meter) forget() {
	for i, fd := range m.fds {
		if fd > 0 {
			unix.Close(fd)
		}
		m.fds[i] = 0
	}
}

// Close closes the files; a later Read opens them again.
func (m *Meter) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
}

// buffers are for the content of one file at a time: v2's memory.stat is the longest of them, but
// for lists of processes.
var buffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// readWhole reads a file from its beginning into buf, which grows as needed. The kernel makes a cgroup file's
// text as one record and returns it in one read(2) if there is room; lists come in pieces of a page
// (fs/seq_file.c, seq_read_iter), so only a piece that short is taken for the whole.
func readWhole(fd int, buf *[]byte) ([]byte, error) {
	for n := 0; ; {
		got, err := unix.Pread(fd, (*buf)[n:], int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		}
		n += got
		if got == 0 || n < len(*buf) && got < shortRead {
			return (*buf)[:n], nil
		}
		if n == len(*buf) {
			*buf = append(*buf, make([]byte, len(*buf))...)
		}
	}
}

// shortRead is less than any page less one record of a list.
const shortRead = 2048
