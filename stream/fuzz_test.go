package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"tare/spec"
)

// obedient is a Runtime whose sessions read all they are given, answer, and end; at the latest with their context.
type obedient struct {
	mu    sync.Mutex               // guards what follows
	begun map[spec.ContainerID]int // commands and attachments
	sizes map[spec.ContainerID][]spec.TerminalSize
}

func (o *obedient) Exec(ctx context.Context, id spec.ContainerID, _ []string, s spec.Streams) (int32, error) {
	o.mu.Lock()
	o.begun[id]++
	o.mu.Unlock()
	read := make(chan struct{})
	go func() { // ends with the streams
		defer close(read)
		o.read(id, s)
	}()
	select {
	case <-read:
	case <-ctx.Done():
	}
	return 0, nil
}

func (o *obedient) read(id spec.ContainerID, s spec.Streams) {
	if s.Stdin != nil {
		_, _ = io.Copy(io.Discard, s.Stdin) // whatever it ends with
	}
	if s.Resize != nil {
		for size := range s.Resize { // ends with the client
			o.mu.Lock()
			o.sizes[id] = append(o.sizes[id], size)
			o.mu.Unlock()
		}
	}
	if s.Stdout != nil {
		_, _ = s.Stdout.Write([]byte("done")) // the client may have gone
	}
}

func (o *obedient) Attach(ctx context.Context, id spec.ContainerID, s spec.Streams) error {
	_, err := o.Exec(ctx, id, nil, s)
	return err
}

func (*obedient) Dial(context.Context, spec.PodID, uint16) (*net.TCPConn, error) {
	return nil, unix.ECONNREFUSED
}

// of returns what there was with a container.
func (o *obedient) of(id string) (begun int, sizes []spec.TerminalSize) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun[spec.ContainerID(id)], slices.Clone(o.sizes[spec.ContainerID(id)])
}

func serveFuzz(f *testing.F) (*Server, *obedient) {
	f.Helper()
	was := streaming.DefaultConfig.StreamCreationTimeout
	streaming.DefaultConfig.StreamCreationTimeout = 200 * time.Millisecond // what a SPDY client takes that makes none
	f.Cleanup(func() { streaming.DefaultConfig.StreamCreationTimeout = was })
	r := &obedient{begun: map[spec.ContainerID]int{}, sizes: map[spec.ContainerID][]spec.TerminalSize{}}
	s, err := Listen(context.Background(), Options{Address: netip.MustParseAddr("127.0.0.1")}, r, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	return s, r
}

// The word of a seed that stands for a session's token.
const tokenWord = "TOKEN"

// sessionsOf are the addresses of one session of each kind, with a container.
func sessionsOf(t testing.TB, s *Server, id string) map[string]string {
	t.Helper()
	exec, err := s.Exec(&runtime.ExecRequest{ContainerId: id, Cmd: []string{"x"}, Stdin: true, Stdout: true, Tty: true})
	attach, aerr := s.Attach(&runtime.AttachRequest{ContainerId: id, Stdout: true, Stderr: true})
	forward, ferr := s.PortForward(&runtime.PortForwardRequest{PodSandboxId: "p", Port: []int32{80}})
	if err := errors.Join(err, aerr, ferr); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"exec": exec.Url, "attach": attach.Url, "portforward": forward.Url}
}

func tokenOf(address string) string { return address[strings.LastIndexByte(address, '/')+1:] }

// recorder is a connection that keeps what is sent.
type recorder struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	_, _ = r.Conn.Write(p) // the server may have hung up: what would be sent counts
	return r.sent.Write(p)
}

// recorded is what a client sends that speaks with a session.
func recorded(f *testing.F, address string, speak func(c *recorder, address string) error) []byte {
	f.Helper()
	u, err := url.Parse(address)
	if err != nil {
		f.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	r := &recorder{Conn: conn}
	_ = speak(r, address) // the server may hang up early: what was sent until then counts
	return bytes.ReplaceAll(r.sent.Bytes(), []byte(tokenOf(address)), []byte(tokenWord))
}

func speakWebSocket(c *recorder, address string) error {
	config, err := websocket.NewConfig(strings.Replace(address, "http:", "ws:", 1), "http://localhost")
	if err != nil {
		return err
	}
	config.Protocol = []string{"v4.channel.k8s.io"}
	ws, err := websocket.NewClient(config, c)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	for _, message := range []string{"\x00input", "\x04{\"Width\":80,\"Height\":24}", "\x04{\"Width\":", "\x00"} {
		if err := websocket.Message.Send(ws, []byte(message)); err != nil {
			return err
		}
	}
	return ws.Close()
}

func speakSPDY(c *recorder, address string) error {
	req, err := http.NewRequest(http.MethodPost, address, nil)
	if err != nil {
		return err
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io", "portforward.k8s.io"}}
	if err := req.Write(c); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.Join(err, errors.New("the server does not speak SPDY"))
	}
	conn, err := spdy.NewClientConnection(c)
	if err != nil {
		return err
	}
	streams := map[string][]string{"exec": {"error", "stdin", "stdout", "resize"}, "attach": {"error", "stdout", "stderr"}, "portforward": {"error", "data"}}
	for _, kind := range streams[strings.Split(req.URL.Path, "/")[1]] {
		stream, err := conn.CreateStream(http.Header{"Streamtype": {kind}, "Port": {"80"}, "Requestid": {"1"}})
		if err != nil { // it has all it wants
			break
		}
		if kind != "stdout" && kind != "stderr" {
			_, _ = stream.Write([]byte(`{"Width":80,"Height":24}`))
		}
		_ = stream.Close()
	}
	return conn.Close()
}

// Whatever a client sends, the server answers and hangs up, unless a session begins: the library does not notice the end of a client that
// has written where nobody reads. Sessions begin for tokens that were handed out, and for each once.
func FuzzRequests(f *testing.F) {
	s, r := serveFuzz(f)
	f.Add([]byte("GET /exec/" + tokenWord + " HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("GET //exec//%2e%2e/attach/" + tokenWord + "/?x=y HTTP/1.0\r\n\r\nPRI * HTTP/2.0\r\n\r\n"))
	for kind := range sessionsOf(f, s, "seed") {
		for _, speak := range []func(*recorder, string) error{speakWebSocket, speakSPDY} {
			f.Add(recorded(f, sessionsOf(f, s, "seed")[kind], speak))
		}
	}
	rounds := 0
	f.Fuzz(func(t *testing.T, raw []byte) {
		rounds++
		id := fmt.Sprintf("c%d", rounds) // sessions of former rounds may begin late
		sessions := sessionsOf(t, s, id)
		used := 0
		for kind, address := range sessions {
			word := []byte(kind + "/" + tokenWord)
			if bytes.Contains(raw, word) {
				raw = bytes.ReplaceAll(raw, word, []byte(kind+"/"+tokenOf(address)))
				used++
			}
		}
		conn, err := net.Dial("tcp", s.conns.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		patience := 10 * time.Second
		if used > 0 {
			patience = time.Second
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(raw) // it may hang up before
		_ = conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) && used == 0 {
			t.Errorf("the server does not hang up: %v", err)
		}
		if begun, _ := r.of(id); begun > used {
			t.Errorf("%d sessions begin, %d tokens were used", begun, used)
		}
		for _, address := range sessions {
			for again := range 2 {
				w := httptest.NewRecorder()
				s.protocols.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, nil))
				if again > 0 && w.Code != http.StatusNotFound {
					t.Errorf("a token that was used is answered with %d", w.Code)
				}
			}
		}
	})
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// Whatever a client sends as sizes of its terminal, those reach the session that are some, up to the first that is none.
func FuzzSizes(f *testing.F) {
	s, r := serveFuzz(f)
	f.Add([]byte(`{"Width":80,"Height":24}`), []byte(`{"Width":1,"Height":2}`))
	f.Add([]byte(`{"Width":80,"Hei`), []byte(`ght":24}{"width":"x"}`))
	f.Add([]byte(`{"Width":-1}`), []byte(`[[[[{}`))
	f.Add([]byte(`{"Width":65536}{"Width":1e2} null`), []byte("{}{}\xff"))
	rounds := 0
	f.Fuzz(func(t *testing.T, first, second []byte) {
		rounds++
		id := fmt.Sprintf("c%d", rounds)
		resp, err := s.Exec(&runtime.ExecRequest{ContainerId: id, Cmd: []string{"x"}, Stdout: true, Tty: true})
		if err != nil {
			t.Fatal(err)
		}
		config, err := websocket.NewConfig(strings.Replace(resp.Url, "http:", "ws:", 1), "http://localhost")
		if err != nil {
			t.Fatal(err)
		}
		config.Protocol = []string{"v4.channel.k8s.io"}
		ws, err := websocket.DialConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		for _, part := range [][]byte{first, second} {
			_ = websocket.Message.Send(ws, append([]byte{4}, part...)) // what is no size ends the session
		}
		if err := ws.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_ = ws.WriteClose(1000)
		if _, err := io.Copy(io.Discard, ws); isTimeout(err) {
			t.Fatalf("the session does not end: %v", err)
		}
		var want []spec.TerminalSize
		for d := json.NewDecoder(bytes.NewReader(append(bytes.Clone(first), second...))); ; {
			var size spec.TerminalSize
			if d.Decode(&size) != nil {
				break
			}
			want = append(want, size)
		}
		_, got := r.of(id)
		for i, size := range got { // those right before the end may be lost
			if i >= len(want) || size != want[i] {
				t.Fatalf("sizes are %v, want %v", got, want)
			}
		}
	})
}
