package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"tare/keeper/proto"

	"golang.org/x/sys/unix"
)

// LockName is the file in the state directory that the living keeper holds locked; it contains
// its pid.
const LockName = "keeper.pid"

// ErrRunning says that another keeper serves the state directory.
var ErrRunning = errors.New("another keeper is running")

// Listener accepts clients of one state directory.
type Listener struct {
	path string // the state directory
	dir  *os.File
	lock *os.File
	sock *os.File
	raw  syscall.RawConn

	journal *os.File // of what this process held before it executed another program; else nil
}

// Listen locks the state directory and opens its socket. A keeper that was killed leaves both
// files behind, but not the lock (flock(2)).
func Listen(stateDir string) (*Listener, error) {
	lock, err := lockState(stateDir)
	if err != nil {
		return nil, err
	}
	l := &Listener{path: stateDir, lock: lock}
	if err := l.open(stateDir); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func lockState(stateDir string) (*os.File, error) {
	path := filepath.Join(stateDir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: %w", path, ErrRunning)
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	if err := writePid(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writePid writes over what the last keeper wrote, in as many bytes: on a full disk, too, a keeper can start.
func writePid(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	return err
}

// open binds the socket. Before listen(2) nobody can connect, and then its mode is right.
func (l *Listener) open(stateDir string) error {
	var err error
	if l.dir, err = os.Open(stateDir); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(l.dir.Fd()), proto.SocketName, 0); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "unlink", Path: proto.SocketName, Err: err}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	l.sock = os.NewFile(uintptr(fd), proto.SocketName)
	if err := unix.Bind(fd, proto.SocketIn(l.dir)); err != nil {
		return os.NewSyscallError("bind "+proto.SocketName, err)
	}
	if err := unix.Fchmodat(int(l.dir.Fd()), proto.SocketName, 0o600, 0); err != nil {
		return os.NewSyscallError("chmod "+proto.SocketName, err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return os.NewSyscallError("listen "+proto.SocketName, err)
	}
	l.raw, err = l.sock.SyscallConn()
	return err
}

// Accept waits for a client that may be one. os.ErrClosed: the listener is closed.
func (l *Listener) Accept() (*proto.Conn, error) {
	var conn int
	var err error
	perr := l.raw.Read(func(fd uintptr) bool {
		for {
			conn, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err != unix.EINTR && err != unix.ECONNABORTED {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil {
		return nil, os.ErrClosed // nothing else ends the waiting
	}
	if err != nil {
		return nil, os.NewSyscallError("accept", err)
	}
	if err := proto.CheckPeer(conn); err != nil {
		unix.Close(conn)
		return nil, err
	}
	return proto.NewConn(conn)
}

// Close stops listening, removes the socket and gives up the lock.
func (l *Listener) Close() {
	if l.sock != nil {
		unix.Unlinkat(int(l.dir.Fd()), proto.SocketName, 0)
		l.sock.Close()
	}
	if l.dir != nil {
		l.dir.Close()
	}
	l.lock.Close()
}

// Relisten goes on with what a keeper had before it executed this program: see replace.
func Relisten(stateDir string, fds Kept) (*Listener, error) {
	l := &Listener{path: stateDir}
	for _, k := range []struct {
		fd   int
		name string
		to   **os.File
	}{{fds.Lock, LockName, &l.lock}, {fds.Socket, proto.SocketName, &l.sock}, {fds.Journal, journalName, &l.journal}} {
		var err error
		if *k.to, err = takeOwn(k.fd, k.name); err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	var err error
	if l.dir, err = os.Open(stateDir); err == nil {
		l.raw, err = l.sock.SyscallConn()
	}
	return l, err
}
