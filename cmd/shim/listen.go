package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
)

const (
	// shutdownPatience is how long calls under way may take once the daemon is to end. What they
	// have begun is finished anyway (package lifecycle); only their answers are lost.
	shutdownPatience = 5 * time.Second
	// dialBound is how long a listener may take to show that it is alive.
	dialBound = 2 * time.Second
)

// listen opens the socket. A socket file nobody listens at is replaced; who does listen, is not
// disturbed. Closing the listener removes the file.
func listen(address string) (net.Listener, error) {
	path, err := socketPath(address)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := vacant(path); err != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, err)
	}
	// Bound under another name until its mode is right, so that nobody connects who may not.
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: temp})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chown(temp, 0, 0), os.Chmod(temp, 0o660), os.Rename(temp, path)); err != nil {
		l.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &socket{l, path}, nil
}

// socket is a listener that takes its file away.
type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error {
	os.Remove(s.path) // first: a client that finds the file also finds the listener
	return s.Listener.Close()
}

// vacant finds out whether a path can be listened at: nothing there, or a socket that is dead.
func vacant(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, dialBound)
	if err == nil {
		conn.Close()
		return errors.New("another runtime listens there")
	}
	return nil
}

// removeSocket removes the socket of a daemon that was killed. Of one that others use by now, or
// that is no socket, it is not ours to do.
func removeSocket(address string) error {
	path, err := socketPath(address)
	if err != nil {
		return err
	}
	if vacant(path) != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// shutdown ends the server: no new calls, some patience with those under way.
func shutdown(s *grpc.Server) {
	timer := time.AfterFunc(shutdownPatience, s.Stop)
	defer timer.Stop()
	s.GracefulStop()
}
