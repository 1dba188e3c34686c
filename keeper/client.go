package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"tare/keeper/proto"

	"github.com/containerd/errdefs"
)

// Exit is the end of a process.
type Exit = proto.Exit

// Custody is the files that belong to a process: its pidfd, the outputs that the keeper copies, and the log.
type Custody = proto.Custody

// Listing is all that a keeper holds, and Process an entry of it.
type (
	Listing = proto.Listing
	Process = proto.Process
	State   = proto.State
)

// States of a Process.
const (
	Launching = proto.Launching
	Running   = proto.Running
	Exited    = proto.Exited
)

// Client is a connection to the keeper.
type Client struct {
	conn *proto.Conn
	log  *slog.Logger
	pid  int
	// program is the digest of what the keeper executes; empty: it does not tell, and cannot be replaced.
	program string
	lost    chan struct{}

	mu       sync.Mutex
	err      error // why the connection ended
	lastID   uint64
	calls    map[uint64]*call
	tethered map[uint64]chan Exit // by the id of the Run
	exits    exits
}

// call is a request in flight. The reader fills in reply and exit, and closes done.
type call struct {
	tether string // key of a tethered run, or ""
	left   bool   // nobody waits any more
	reply  *proto.Packet
	exit   chan Exit // of a tethered run
	done   chan struct{}
}

// newClient greets the keeper.
func newClient(ctx context.Context, conn *proto.Conn, o Options) (*Client, error) {
	c := &Client{
		conn: conn, log: o.Log, lost: make(chan struct{}),
		calls: map[uint64]*call{}, tethered: map[uint64]chan Exit{},
	}
	c.exits.wake = make(chan struct{}, 1)
	go c.read()
	if o.Exited != nil {
		go c.deliver(o.Exited)
	}
	hello := proto.Hello{Min: proto.MinVersion, Max: proto.MaxVersion, Events: o.Exited != nil}
	p, err := c.ask(ctx, proto.KindHello, hello.Append(nil))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet keeper: %w", err)
	}
	w, err := proto.ParseWelcome(p.Body)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet keeper: %w", err)
	}
	c.pid, c.program = int(w.Pid), w.Program
	return c, nil
}

// Pid is the keeper's.
func (c *Client) Pid() int { return c.pid }

// Lost is closed when the connection has ended: Connect again.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// Close ends the connection. Tethered processes are killed.
func (c *Client) Close() error { return c.conn.Close() }

// ask sends a request and waits for its answer. When ctx ends first, the request may still be
// done; the files of its answer are closed.
func (c *Client) ask(ctx context.Context, kind proto.Kind, body []byte, files ...*os.File) (*proto.Packet, error) {
	return c.wait(ctx, &call{}, &proto.Packet{Kind: kind, Body: body, Files: files})
}

func (c *Client) wait(ctx context.Context, call *call, p *proto.Packet) (*proto.Packet, error) {
	call.done = make(chan struct{})
	if err := c.enter(call, p); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := c.conn.Send(p, deadline); err != nil {
		return nil, c.withdraw(p.ID, err)
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		if c.giveUp(p.ID) {
			return nil, ctx.Err()
		}
		<-call.done // it came just now
	}
	if call.reply == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.err
	}
	if call.reply.Kind == proto.KindFault {
		return nil, refused(call.reply)
	}
	return call.reply, nil
}

// enter gives the request an id.
func (c *Client) enter(call *call, p *proto.Packet) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.lastID++
	p.ID = c.lastID
	c.calls[p.ID] = call
	return nil
}

// withdraw takes back a request that was not sent, and returns why. When the connection has ended, that is what the reader,
// which is about to see it, says: whoever gets the error finds Lost closed.
func (c *Client) withdraw(id uint64, err error) error {
	for _, ended := range []error{syscall.EPIPE, syscall.ECONNRESET, os.ErrClosed} {
		if errors.Is(err, ended) {
			<-c.lost
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
	if c.err != nil {
		return c.err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}

// giveUp stops waiting for an answer; false: it has come. When it comes later, the reader puts
// away what came with it.
func (c *Client) giveUp(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	if call == nil {
		return false
	}
	call.left = true
	return true
}

// refused is the error that a fault stands for.
func refused(p *proto.Packet) error {
	f, err := proto.ParseFault(p.Body)
	if err != nil {
		return fmt.Errorf("keeper's answer: %w", err)
	}
	class := map[proto.Code]error{
		proto.NotFound:     errdefs.ErrNotFound,
		proto.Exists:       errdefs.ErrAlreadyExists,
		proto.Invalid:      errdefs.ErrInvalidArgument,
		proto.Malformed:    errdefs.ErrInvalidArgument,
		proto.Precondition: errdefs.ErrFailedPrecondition,
	}[f.Code]
	if class == nil {
		return f
	}
	return fmt.Errorf("%w: %w", f, class)
}
