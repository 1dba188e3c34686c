package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"tare/spec"
)

const (
	// headerTimeout is how long a client may take to say what it wants.
	headerTimeout = 30 * time.Second
	// idleTimeout is how long a connection may be kept without any wish.
	idleTimeout = 2 * time.Minute
)

// Runtime does what sessions are for.
type Runtime interface {
	Exec(ctx context.Context, id spec.ContainerID, cmd []string, s spec.Streams) (int32, error)
	Attach(ctx context.Context, id spec.ContainerID, s spec.Streams) error
	Dial(ctx context.Context, pod spec.PodID, port uint16) (*net.TCPConn, error)
}

// Options say where to listen.
type Options struct {
	Address netip.Addr
	Port    uint16 // 0: any that is free
}

// Server serves sessions until it is closed.
type Server struct {
	protocols streaming.Server
	http      *http.Server
	conns     *listener
	end       context.CancelFunc // of the sessions' contexts
	serving   sync.WaitGroup
}

// Listen opens the socket and serves, until Close or the end of ctx ends all sessions. There is no
// TLS: at an address beyond the host's loopback, everybody who reads the network reads sessions.
func Listen(ctx context.Context, o Options, r Runtime, log *slog.Logger) (*Server, error) {
	quiet(log)
	tcp, err := net.Listen("tcp", netip.AddrPortFrom(o.Address, o.Port).String())
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	s := &Server{conns: newListener(tcp)}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: reachable(tcp.Addr().(*net.TCPAddr)), Path: "/"}
	if s.protocols, err = streaming.NewServer(config, &adapter{runtime: r, conns: s.conns, log: log}); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	ctx, s.end = context.WithCancel(ctx)
	s.http = &http.Server{
		Handler: s.protocols, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: withGone,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.serving.Go(func() { // ends with Close
		if err := s.http.Serve(s.conns); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve streams", "err", err)
		}
	})
	return s, nil
}

// reachable is where a client on this host finds the server: not every client knows what to do with an
// unspecified address.
func reachable(addr *net.TCPAddr) string {
	ip := addr.AddrPort().Addr().Unmap()
	switch ip {
	case netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(addr.Port))
}

// Close ends all sessions and waits for them.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close() // leaves the connections that sessions took over
	s.conns.close()
	s.serving.Wait()
	return err
}

// Exec returns the address of a session for a valid request.
func (s *Server) Exec(r *runtime.ExecRequest) (*runtime.ExecResponse, error) {
	return s.protocols.GetExec(&runtime.ExecRequest{
		ContainerId: target(r.ContainerId, r), Cmd: r.Cmd,
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Tty: r.Tty,
	})
}

// Attach returns the address of a session for a valid request.
func (s *Server) Attach(r *runtime.AttachRequest) (*runtime.AttachResponse, error) {
	return s.protocols.GetAttach(&runtime.AttachRequest{
		ContainerId: target(r.ContainerId, r),
		Stdin:       r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Tty: r.Tty,
	})
}

// PortForward returns the address of a session for a valid request.
func (s *Server) PortForward(r *runtime.PortForwardRequest) (*runtime.PortForwardResponse, error) {
	return s.protocols.GetPortForward(r)
}
