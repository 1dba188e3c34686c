package oci

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Console receives a terminal's master from a create.
type Console struct{ listener *net.UnixListener }

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
	return &Console{l}, nil
}

// Close ends the listening.
func (c *Console) Close() {
	if c != nil {
		c.listener.Close()
	}
}

// Receive waits for the master. It returns os.ErrClosed if the console is closed meanwhile.
func (c *Console) Receive() (*os.File, error) {
	conn, err := c.listener.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil, os.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	name, oob := make([]byte, unix.PathMax), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, err
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
