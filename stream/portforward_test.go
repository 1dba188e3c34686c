package stream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"tare/spec"
)

// deaf is a Runtime in whose pods nobody listens.
type deaf struct{ stubborn }

func (deaf) Dial(context.Context, spec.PodID, uint16) (*net.TCPConn, error) {
	return nil, unix.ECONNREFUSED
}

// TestRefusedPort: however many ask at once, each is told why nobody answers. client-go looks at the
// error stream only where it has got both of its streams.
func TestRefusedPort(t *testing.T) {
	s, err := Listen(t.Context(), Options{Address: netip.MustParseAddr("127.0.0.1")}, deaf{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(8)) // the order of things varies with many threads only
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			conn, err := forwardTo(s)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range 200 {
				if text, err := knock(conn, i); err != nil || !strings.Contains(text, "connection refused") {
					t.Errorf("connection %d: %q, %v", i, text, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// forwardTo begins a session in SPDY.
func forwardTo(s *Server) (httpstream.Connection, error) {
	resp, err := s.PortForward(&runtime.PortForwardRequest{PodSandboxId: "p"})
	if err != nil {
		return nil, err
	}
	rt, err := spdy.NewRoundTripper(nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, resp.Url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, "portforward.k8s.io")
	upgraded, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return nil, err
	}
	return rt.NewConnection(upgraded)
}

// knock does what client-go does for a connection, and returns what the error stream says.
func knock(conn httpstream.Connection, request int) (string, error) {
	h := http.Header{"Streamtype": {"error"}, "Port": {"1"}, "Requestid": {strconv.Itoa(request)}}
	errs, err := conn.CreateStream(h)
	if err != nil {
		return "", fmt.Errorf("error stream: %w", err)
	}
	defer conn.RemoveStreams(errs)
	errs.Close()
	text := make(chan string, 1)
	go func() { // ends with the stream
		all, _ := io.ReadAll(errs)
		text <- string(all)
	}()
	h.Set("Streamtype", "data")
	data, err := conn.CreateStream(h)
	if err != nil {
		return "", fmt.Errorf("data stream: %w", err)
	}
	defer conn.RemoveStreams(data)
	io.Copy(io.Discard, data)
	data.Reset()
	return <-text, nil
}
