package pod

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// asked is what a session is asked to have.
type asked struct {
	stdin, tty, noStdout, noStderr bool
	websocket                      bool // SPDY otherwise
}

func (a asked) String() string {
	if a.websocket {
		return "websocket"
	}
	return "spdy"
}

// session is a client's side of an exec or attach: what comes is collected.
type session struct {
	t              *testing.T
	stdin          io.WriteCloser // its Close ends the input, or with WebSocket all
	resizes        io.Writer
	stdout, stderr *collector
	outcome        *collector // the status, when done
	done           sync.WaitGroup
	leave          func() // drops the connection
}

// collector keeps what is written to it.
type collector struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.Write(p)
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.String()
}

func (c *collector) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.Len()
}

// execURL asks for the address of an exec.
func (c *ctr) execURL(a asked, args ...string) string {
	c.t.Helper()
	resp, err := c.runtime.Exec(deadline(c.t), &runtime.ExecRequest{
		ContainerId: c.id, Cmd: args, Stdin: a.stdin, Tty: a.tty, Stdout: !a.noStdout, Stderr: !a.tty && !a.noStderr,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Url
}

// session begins an exec.
func (c *ctr) session(a asked, args ...string) *session {
	c.t.Helper()
	return connect(c.t, a, c.execURL(a, args...))
}

// attach begins an attach.
func (c *ctr) attach(a asked) *session {
	c.t.Helper()
	resp, err := c.runtime.Attach(deadline(c.t), &runtime.AttachRequest{
		ContainerId: c.id, Stdin: a.stdin, Tty: a.tty, Stdout: !a.noStdout, Stderr: !a.tty && !a.noStderr,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return connect(c.t, a, resp.Url)
}

func connect(t *testing.T, a asked, url string) *session {
	t.Helper()
	s := &session{t: t, stdout: &collector{}, stderr: &collector{}, outcome: &collector{}}
	begin := s.spdy
	if a.websocket {
		begin = s.websocket
	}
	if err := begin(a, url); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	t.Cleanup(s.leave)
	return s
}

// dialSPDY upgrades a request to SPDY, speaking a protocol in it.
func dialSPDY(url, protocol string) (httpstream.Connection, error) {
	rt, err := spdy.NewRoundTripper(nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, protocol)
	resp, err := (&http.Client{Transport: rt, Timeout: callTimeout}).Do(req)
	if err != nil {
		return nil, err
	}
	return rt.NewConnection(resp)
}

// spdy speaks v4.channel.k8s.io: a stream each for what was asked for.
func (s *session) spdy(a asked, url string) error {
	conn, err := dialSPDY(url, "v4.channel.k8s.io")
	if err != nil {
		return err
	}
	s.leave = func() { conn.Close() }
	stream := func(kind string) httpstream.Stream {
		if err != nil {
			return nil
		}
		var st httpstream.Stream
		st, err = conn.CreateStream(http.Header{"Streamtype": {kind}})
		return st
	}
	outcome := stream("error")
	if a.stdin {
		s.stdin = stream("stdin")
	}
	if !a.noStdout {
		s.collect(s.stdout, stream("stdout"))
	}
	if !a.tty && !a.noStderr {
		s.collect(s.stderr, stream("stderr"))
	}
	if a.tty {
		s.resizes = stream("resize")
	}
	s.collect(s.outcome, outcome)
	return err
}

func (s *session) collect(to io.Writer, from io.Reader) {
	s.done.Go(func() { _, _ = io.Copy(to, from) }) // ends with the stream
}

func dialWebSocket(url string) (*websocket.Conn, error) {
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(url, "http"), "http://localhost")
	if err != nil {
		return nil, err
	}
	config.Protocol = []string{"v4.channel.k8s.io"}
	return websocket.DialConfig(config)
}

// websocket speaks v4.channel.k8s.io: one byte for the channel before each message.
func (s *session) websocket(_ asked, url string) error {
	conn, err := dialWebSocket(url)
	if err != nil {
		return err
	}
	s.leave = func() { conn.Close() }
	s.stdin, s.resizes = &channel{conn, 0}, &channel{conn, 4}
	s.done.Go(func() { // ends with the connection
		for {
			var m []byte
			if websocket.Message.Receive(conn, &m) != nil {
				return
			}
			if to := map[byte]io.Writer{1: s.stdout, 2: s.stderr, 3: s.outcome}[m[0]]; to != nil {
				to.Write(m[1:])
			}
		}
	})
	return nil
}

// channel is one that is written to a WebSocket.
type channel struct {
	conn *websocket.Conn
	n    byte
}

func (c *channel) Write(p []byte) (int, error) {
	return len(p), websocket.Message.Send(c.conn, append([]byte{c.n}, p...))
}

func (c *channel) Close() error { return c.conn.Close() }

// finish waits for the session's end and returns the exit code; -1 is another failure.
func (s *session) finish() int {
	s.t.Helper()
	ended := make(chan struct{})
	go func() { s.done.Wait(); close(ended) }() // ends with the session
	select {
	case <-ended:
	case <-time.After(patience):
		s.t.Fatalf("session goes on; stdout %.200q, stderr %.200q", s.stdout, s.stderr)
	}
	return s.exitCode()
}

func (s *session) exitCode() int {
	var status struct {
		Status, Reason string
		Details        struct{ Causes []struct{ Message string } }
	}
	if err := json.Unmarshal([]byte(s.outcome.String()), &status); err != nil {
		return -1
	}
	switch {
	case status.Status == "Success":
		return 0
	case status.Reason == "NonZeroExitCode" && len(status.Details.Causes) == 1:
		code, _ := strconv.Atoi(status.Details.Causes[0].Message)
		return code
	}
	return -1
}

// types sends text to the input.
func (s *session) types(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, text); err != nil {
		s.t.Fatal(err)
	}
}

// resize sends the size of the client's window.
func (s *session) resize(width, height int) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.resizes, `{"Width":%d,"Height":%d}`+"\n", width, height); err != nil {
		s.t.Fatal(err)
	}
}

// shows waits until the output has a text.
func (s *session) shows(text string) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("output has %q", text), func() error {
		if got := s.stdout.String(); !strings.Contains(got, text) {
			return fmt.Errorf("it is %.200q, %s", got, s.outcome)
		}
		return nil
	})
}

// forwarded is a client's connection to a port of a pod.
type forwarded struct {
	io.ReadWriteCloser
	reset  func()
	errors *collector
}

// portForward begins to forward ports and returns a function that connects to one.
func (p *pod) portForward(a asked, port int) func() *forwarded {
	p.t.Helper()
	resp, err := p.runtime.PortForward(deadline(p.t), &runtime.PortForwardRequest{PodSandboxId: p.id, Port: []int32{int32(port)}})
	if err != nil {
		p.t.Fatal(err)
	}
	if a.websocket {
		return func() *forwarded { return forwardWebSocket(p.t, resp.Url) }
	}
	conn, err := dialSPDY(resp.Url, "portforward.k8s.io")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	requests := 0
	return func() *forwarded {
		requests++
		h := http.Header{"Streamtype": {"error"}, "Port": {strconv.Itoa(port)}, "Requestid": {strconv.Itoa(requests)}}
		errs, err := conn.CreateStream(h)
		if err != nil {
			p.t.Fatal(err)
		}
		errs.Close()
		h.Set("Streamtype", "data")
		data, err := conn.CreateStream(h)
		if err != nil {
			p.t.Fatal(err)
		}
		f := &forwarded{data, func() { data.Reset() }, &collector{}}
		go io.Copy(f.errors, errs) // ends with the stream
		return f
	}
}

// forwardWebSocket connects to the one port of an address.
func forwardWebSocket(t *testing.T, url string) *forwarded {
	t.Helper()
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(url, "http"), "http://localhost")
	if err != nil {
		t.Fatal(err)
	}
	config.Protocol = []string{"v4.channel.k8s.io"}
	conn, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := &forwarded{errors: &collector{}}
	r, w := io.Pipe()
	go func() { // ends with the connection
		var first [2]bool // each channel begins with the port's number
		for {
			var m []byte
			if err := websocket.Message.Receive(conn, &m); err != nil {
				w.Close()
				return
			}
			if n := m[0]; !first[n] {
				first[n] = true
				if binary.LittleEndian.Uint16(m[1:]) == 0 {
					w.CloseWithError(errors.New("no port"))
				}
			} else if n == 0 {
				w.Write(m[1:])
			} else {
				f.errors.Write(m[1:])
			}
		}
	}()
	f.reset = func() { conn.Close() }
	f.ReadWriteCloser = struct {
		io.Reader
		io.WriteCloser
	}{r, &channel{conn, 0}}
	return f
}
