package oci

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Console receives a terminal's master from a create.
type Console struct {
	listener *net.UnixListener

	mu    sync.Mutex // guards what follows
	conn  *net.UnixConn
	until time.Time // zero: as long as it takes
}

// Listen makes the bundle's console socket. Close it after the create.
func (c *Container) Listen() (*Console, error) {
	dir, err := os.Open(c.Bundle)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	os.Remove(c.path(consoleFile))
	// By way of the descriptor: a socket's path is no longer than 107 bytes, unix(7).
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), consoleFile)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return &Console{listener: l}, nil
}

// Close ends the listening.
func (c *Console) Close() {
	if c == nil {
		return
	}
	c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}

// lastWord is how long a terminal may be on its way from a create that has ended.
const lastWord = 2 * time.Second

// Ended says that the create has: what it has sent is there, and Receive waits no longer for more.
func (c *Console) Ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Now().Add(lastWord)
	_ = c.listener.SetDeadline(c.until)
	if c.conn != nil {
		_ = c.conn.SetDeadline(c.until)
	}
}

// accept waits for who is to send it.
func (c *Console) accept() (*net.UnixConn, error) {
	conn, err := c.listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	_ = conn.SetDeadline(c.until)
	return conn, nil
}

// Receive waits for the master. It returns os.ErrClosed if the console is closed meanwhile.
func (c *Console) Receive() (*os.File, error) {
	conn, err := c.accept()
	if err != nil {
		return nil, unsent(err)
	}
	defer conn.Close()
	name, oob := make([]byte, unix.PathMax), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, unsent(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("no terminal was sent"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("no terminal was sent"), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "console"), nil
}

// unsent is why nothing was received.
func unsent(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		return os.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no terminal was sent")
	}
	return err
}
