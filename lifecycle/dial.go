package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// dialTimeout is how long a connection into a pod may take. It does not leave the host.
const dialTimeout = 10 * time.Second

// Dial connects to a TCP port on the loopback addresses of a pod that is ready, IPv4 first; in the
// host's network that is the host's loopback. A network namespace is needed for making the socket only:
// it stays where it was made.
func (r *Runtime) Dial(ctx context.Context, pod spec.PodID, port uint16) (*net.TCPConn, error) {
	p, err := r.Store.Pod(pod)
	if err != nil {
		return nil, err
	}
	if p.State != store.PodReady {
		return nil, fmt.Errorf("pod %s is %s: %w", pod.Short(), p.State, errNotReady)
	}
	sb, err := r.sandboxOf(pod)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ns := sb.Namespaces[sandbox.Net]
	conn, err := dial(ctx, ns, unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		return conn, nil
	}
	conn, err6 := dial(ctx, ns, unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{15: 1}})
	if err6 == nil {
		return conn, nil
	}
	return nil, fmt.Errorf("connect to port %d of pod %s: %w", port, pod.Short(), dialError(err, err6))
}

// dialError leaves out what only says that the pod has no IPv6.
func dialError(err, err6 error) error {
	for _, lacking := range []unix.Errno{unix.EAFNOSUPPORT, unix.EADDRNOTAVAIL, unix.ENETUNREACH} {
		if errors.Is(err6, lacking) {
			return err
		}
	}
	if errors.Is(err6, unix.ECONNREFUSED) && errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return errors.Join(err, err6)
}

// dial connects a socket of the namespace; nil is this process's own.
func dial(ctx context.Context, ns *os.File, family int, to unix.Sockaddr) (*net.TCPConn, error) {
	var fd int
	open := func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewSyscallError("socket", err)
	}
	var err error
	if ns == nil {
		err = open()
	} else {
		err = nsutil.InNetNS(ns, open)
	}
	if err != nil {
		return nil, err
	}
	sock := os.NewFile(uintptr(fd), "socket")
	defer sock.Close() // net takes a duplicate
	if err := connect(ctx, sock, to); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(sock)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// connect waits for a non-blocking connect(2): called again, it tells how the first call ended.
func connect(ctx context.Context, sock *os.File, to unix.Sockaddr) error {
	raw, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { sock.SetWriteDeadline(time.Now()) })
	defer stop()
	var cerr error
	err = raw.Write(func(fd uintptr) bool {
		cerr = unix.Connect(int(fd), to)
		return cerr != unix.EINPROGRESS && cerr != unix.EALREADY && cerr != unix.EINTR
	})
	switch {
	case err != nil:
		return fmt.Errorf("connect: %w", ctx.Err())
	case cerr == unix.EISCONN:
		return nil
	}
	return os.NewSyscallError("connect", cerr)
}
