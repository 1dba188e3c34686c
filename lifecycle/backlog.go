package lifecycle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
)

// maxBacklog is how far a client may be behind the output of the container it is attached to. A
// container never waits for who watches it.
const maxBacklog = 16 << 20

// errTooSlow ends a session whose client is further behind.
var errTooSlow = errors.New("the client does not take the output as fast as it comes; the log has it all")

// backlog passes an output on to a client, and keeps what the client has not taken yet.
type backlog struct {
	mu    sync.Mutex
	more  sync.Cond // data or end has changed
	data  bytes.Buffer
	going int // bytes on their way to the client
	ended bool
}

// pass copies until the output's end and returns when the client has all of it, or as soon as the
// client has gone (any error of to) or is too slow.
func (b *backlog) pass(to io.Writer, from *os.File) error {
	b.more.L = &b.mu
	sent := make(chan error, 1)
	go func() { sent <- b.send(to) }() // ends with read's, or with the client's connection
	if err := b.read(from); err != nil {
		return err
	}
	return <-sent
}

// read is quick, whatever the client is.
func (b *backlog) read(from *os.File) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		b.mu.Lock()
		b.data.Write(buf[:n])
		slow := b.data.Len()+b.going > maxBacklog
		b.ended = b.ended || err != nil || slow
		over := b.ended
		b.mu.Unlock()
		b.more.Signal()
		switch {
		case slow:
			return errTooSlow
		case over:
			return nil
		}
	}
}

// send ends read if the client has gone: at the next output.
func (b *backlog) send(to io.Writer) error {
	var taken bytes.Buffer
	for {
		b.mu.Lock()
		b.going = 0
		for b.data.Len() == 0 && !b.ended {
			b.more.Wait()
		}
		ended := b.ended
		taken, b.data = b.data, taken
		b.going = taken.Len()
		b.mu.Unlock()
		if taken.Len() == 0 && ended {
			return nil
		}
		if _, err := taken.WriteTo(to); err != nil {
			b.mu.Lock()
			b.ended = true
			b.mu.Unlock()
			return err
		}
		taken.Reset()
	}
}
