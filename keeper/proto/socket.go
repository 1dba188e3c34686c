package proto

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SocketName is the keeper's socket in its state directory.
const SocketName = "keeper.sock"

// ExitRunning is the exit code of a keeper whose state directory is another's.
const ExitRunning = 3

// SocketIn returns the address of the socket in a directory opened by the caller, who keeps it
// open while using the address. A path through the descriptor stays short, however deep the
// directory lies: sun_path holds 108 bytes, unix(7).
func SocketIn(dir *os.File) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)}
}

// Dial connects to the keeper of a state directory and checks that the peer is root's or the
// caller's own. It neither waits nor greets.
func Dial(stateDir string) (*Conn, error) {
	dir, err := os.Open(stateDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, SocketIn(dir)); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: filepath.Join(stateDir, SocketName), Err: err}
	}
	if err := CheckPeer(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return NewConn(fd)
}

// CheckPeer refuses a connected socket whose other end does not belong to root or to the
// caller's own user. Custody of a container's descriptors is the power to be root.
func CheckPeer(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return fmt.Errorf("keeper socket: peer is user %d: %w", cred.Uid, os.ErrPermission)
	}
	return nil
}
