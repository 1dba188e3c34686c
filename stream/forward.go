package stream

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// halfCloser is a stream whose two directions end one by one: SPDY's. Its Close ends what we
// send.
type halfCloser interface {
	io.ReadWriteCloser
	IsFinished() bool // by Close, or reset by the client
	RemoteAddr() net.Addr
}

// errReset is that a client broke its stream off.
var errReset = errors.New("client reset the stream")

// forwarding is one connection of a client's into a pod.
type forwarding struct {
	stream io.ReadWriteCloser
	half   halfCloser // stream, if it is one
	to     *net.TCPConn
	ended  atomic.Bool // what we send has ended
}

// forward copies between a client's stream and a connection into a pod, which it closes. Either
// side's end is passed to the other, and what breaks one breaks the other: a client that resets
// or vanishes resets the connection; the error of a connection makes the library reset the stream.
// gone closes with the client.
func (f *forwarding) forward(gone <-chan struct{}) error {
	defer f.to.Close()
	up, down := make(chan error, 1), make(chan error, 1)
	go func() { up <- f.upload() }()     // ends with the stream, which the caller closes
	go func() { down <- f.download() }() // ends with the connection, or at its next write
	for up != nil || down != nil {
		var err error
		select {
		case err = <-up:
			up = nil
		case err = <-down:
			down = nil
		case <-gone:
			err = errReset
		}
		switch {
		case errors.Is(err, errReset):
			reset(f.to)
			return nil
		case err != nil:
			return err
		case f.half == nil && (up == nil || down == nil):
			return nil // one direction cannot end alone
		}
	}
	return nil
}

// upload copies from the client into the pod.
func (f *forwarding) upload() error {
	if _, err := io.Copy(f.to, f.stream); err != nil {
		return err
	}
	if f.broken() {
		return errReset
	}
	return f.to.CloseWrite()
}

// download copies from the pod to the client.
func (f *forwarding) download() error {
	if _, err := io.Copy(f, f.to); err != nil {
		return err
	}
	if f.half == nil {
		return nil
	}
	f.ended.Store(true)
	return f.half.Close()
}

// Write sends to the client. The library would go on writing into a stream that was reset. (After its
// input's end, client-go's clients do not send a reset any more: it is then up to the pod to end.)
func (f *forwarding) Write(p []byte) (int, error) {
	if f.broken() {
		return 0, errReset
	}
	return f.stream.Write(p)
}

// broken says whether the client has reset the stream.
func (f *forwarding) broken() bool {
	return f.half != nil && !f.ended.Load() && f.half.IsFinished()
}

// reset closes a connection so that its peer notices (RST; SO_LINGER in socket(7)).
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
