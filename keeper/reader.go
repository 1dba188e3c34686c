package keeper

import (
	"errors"
	"fmt"
	"io"

	"tare/keeper/proto"
	"tare/nsutil"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// read hands out what the keeper sends, and ends with the connection. It never waits for
// anybody.
func (c *Client) read() {
	for {
		p, err := c.conn.Recv()
		if err == nil && p.Kind == proto.KindExited {
			err = c.exited(p)
		} else if err == nil {
			c.answered(p)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) answered(p *proto.Packet) {
	if p.Lost { // a process that runs is ended by its cgroup, or with the connection
		p.Kind, p.Body = proto.KindFault, proto.FilesLost("daemon").Append(nil)
	}
	p.Body = append([]byte(nil), p.Body...) // it is the receiver's buffer
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[p.ID]
	delete(c.calls, p.ID)
	if call == nil || call.left {
		c.discard(call, p)
		return
	}
	if call.tether != "" && p.Kind == proto.KindRan {
		// Here, not in the caller: the exit may be the next packet.
		call.exit = make(chan Exit, 1)
		c.tethered[p.ID] = call.exit
	}
	call.reply = p
	close(call.done)
}

// discard puts away an answer for which nobody waits any more. A tethered process is of no use to
// anybody then, nor is its exit. Preconditions: mu held.
func (c *Client) discard(call *call, p *proto.Packet) {
	if call != nil && call.tether != "" && p.Kind == proto.KindRan && len(p.Files) > 0 {
		c.tethered[p.ID] = make(chan Exit, 1)
		if err := nsutil.PidfdSignal(p.Files[0], unix.SIGKILL); err != nil {
			c.log.Error("kill process whose caller has gone", "key", call.tether, "err", err)
		}
	}
	p.CloseFiles()
}

func (c *Client) exited(p *proto.Packet) error {
	e, err := proto.ParseExit(p.Body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.tethered[p.ID]; ch != nil {
		delete(c.tethered, p.ID)
		ch <- e // has room for one
		return nil
	}
	c.exits.push(e)
	return nil
}

// errGone is the end of a connection by the keeper.
var errGone = errors.New("keeper went away")

// end tells everybody who waits that the connection is gone.
func (c *Client) end(err error) {
	if errors.Is(err, io.EOF) {
		err = errGone
	}
	defer c.conn.Close() // whose request then fails reads why
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	for _, call := range c.calls {
		close(call.done)
	}
	for _, ch := range c.tethered {
		close(ch)
	}
	c.calls, c.tethered = nil, nil
	close(c.lost)
}

// exits is a queue without a bound: the reader never waits for Options.Exited.
type exits struct {
	queue []Exit
	wake  chan struct{} // has a value when the queue was filled
}

// push appends. Preconditions: Client.mu held.
func (q *exits) push(e Exit) {
	q.queue = append(q.queue, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// deliver calls exited for each exit, in order, until the connection has ended.
func (c *Client) deliver(exited func(Exit)) {
	for {
		c.mu.Lock()
		queue := c.exits.queue
		c.exits.queue = nil
		c.mu.Unlock()
		for _, e := range queue {
			exited(e)
		}
		select {
		case <-c.exits.wake:
		case <-c.lost:
			if len(queue) == 0 {
				return
			}
		}
	}
}
