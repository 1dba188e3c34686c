package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"tare/spec"
)

func TestTarget(t *testing.T) {
	for _, r := range []*runtime.ExecRequest{
		{}, {Stdin: true}, {Stdout: true}, {Stderr: true}, {Stdin: true, Stdout: true, Stderr: true},
	} {
		all := spec.Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
		id, s := parseTarget(target("c1", r), all)
		if id != "c1" || (s.Stdin != nil) != r.Stdin || (s.Stdout != nil) != r.Stdout || (s.Stderr != nil) != r.Stderr {
			t.Errorf("%v: %s, %+v", r, id, s)
		}
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "[::1]:80", "[fd00::1]:80": "[fd00::1]:80",
		"[::ffff:0.0.0.0]:80": "127.0.0.1:80",
	} {
		if got := reachable(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestSizes ends with the sizes, and with the context though nobody takes them.
func TestSizes(t *testing.T) {
	if sizes(t.Context(), nil) != nil {
		t.Error("sizes of a client that has none")
	}
	from := make(chan remotecommand.TerminalSize, 1)
	from <- remotecommand.TerminalSize{Width: 1, Height: 2}
	close(from)
	to := sizes(t.Context(), from)
	if s := <-to; s != (spec.TerminalSize{Width: 1, Height: 2}) {
		t.Error(s)
	}
	if _, ok := <-to; ok {
		t.Error("more sizes than there were")
	}
	ctx, cancel := context.WithCancel(t.Context())
	from = make(chan remotecommand.TerminalSize)
	to = sizes(ctx, from)
	from <- remotecommand.TerminalSize{}
	cancel()
	for range to { // at most the one on its way
	}
}

// stubborn is a Runtime whose sessions end with their context only.
type stubborn struct{ began chan struct{} }

func (s stubborn) Exec(ctx context.Context, _ spec.ContainerID, _ []string, _ spec.Streams) (int32, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s stubborn) Attach(ctx context.Context, _ spec.ContainerID, _ spec.Streams) error {
	_, err := s.Exec(ctx, "", nil, spec.Streams{})
	return err
}

func (s stubborn) Dial(context.Context, spec.PodID, uint16) (*net.TCPConn, error) {
	return nil, errors.New("no")
}

// TestClose ends a session that is under way, and refuses others.
func TestClose(t *testing.T) {
	r := stubborn{make(chan struct{}, 1)}
	s, err := Listen(t.Context(), Options{Address: netip.MustParseAddr("127.0.0.1")}, r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Exec(&runtime.ExecRequest{ContainerId: "c", Cmd: []string{"x"}, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Listen(t.Context(), Options{Address: netip.MustParseAddr("127.0.0.1"), Port: portOf(t, resp.Url)}, r, slog.New(slog.DiscardHandler))
	if err == nil {
		again.Close()
		t.Error("two servers at one address")
	}
	go func() { // ends with the server
		req, _ := http.NewRequest(http.MethodGet, resp.Url, nil)
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Origin": {"http://localhost"},
			"Sec-Websocket-Protocol": {"v4.channel.k8s.io"},
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	<-r.began
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the session goes on")
	}
	if _, err := s.conns.begin(); !errors.Is(err, errClosing) {
		t.Errorf("another session: %v", err)
	}
}

func portOf(t *testing.T, url string) uint16 {
	t.Helper()
	host := strings.TrimPrefix(url[:strings.Index(url, "/exec/")], "http://")
	addr, err := netip.ParseAddrPort(host)
	if err != nil {
		t.Fatal(err)
	}
	return addr.Port()
}
