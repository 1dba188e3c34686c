package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// client is how kubectl connects to a kubelet, by way of an API server.
var client = &rest.Config{Host: kubeletURL(""), TLSClientConfig: rest.TLSClientConfig{Insecure: true}}

// address is one of the kubelet's streaming endpoints.
func (p *pod) address(verb, container string, query url.Values) *url.URL {
	u, err := url.Parse(kubeletURL("/" + verb + "/default/" + p.name + "/" + container))
	if err != nil {
		p.t.Fatal(err)
	}
	u.RawQuery = query.Encode()
	return u
}

// executors are both protocols' clients of an endpoint.
func executors(t *testing.T, u *url.URL) map[string]remotecommand.Executor {
	overSPDY, err := remotecommand.NewSPDYExecutor(client, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	overWebSocket, err := remotecommand.NewWebSocketExecutor(client, http.MethodGet, u.String())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"SPDY": overSPDY, "WebSocket": overWebSocket}
}

// TestStreams executes, attaches and forwards through the kubelet.
func TestStreams(t *testing.T) {
	t.Parallel()
	p := runPod(t, "streams", `
containers:
- {name: cat, command: [cat], stdin: true}
- {name: terminal, command: [sh, -c, "`+resized+`"], stdin: true, tty: true}
- {name: web, image: "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"}
`)
	p.ready()
	t.Run("exec", func(t *testing.T) {
		u := p.address("exec", "cat", url.Values{"command": {"sh", "-c", "cat; echo err >&2; exit 4"}, "input": {"1"}, "output": {"1"}, "error": {"1"}})
		for name, e := range executors(t, u) {
			var out, errs bytes.Buffer
			err := e.StreamWithContext(p.deadline(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &out, Stderr: &errs})
			if exitCode(err) != 4 {
				t.Errorf("%s: %v", name, err)
			}
			if out.String() != "hello\n" || errs.String() != "err\n" {
				t.Errorf("%s: %q and %q", name, out.String(), errs.String())
			}
		}
	})
	t.Run("terminal", func(t *testing.T) {
		u := p.address("exec", "cat", url.Values{"command": {"sh", "-c", onTerminal}, "input": {"1"}, "output": {"1"}, "tty": {"1"}})
		for name, e := range executors(t, u) {
			sizes := make(resizes, 2)
			sizes <- remotecommand.TerminalSize{Width: 101, Height: 33}
			out := &listener{want: "heard hello", heard: sync.OnceFunc(func() { sizes <- remotecommand.TerminalSize{Width: 121, Height: 44} })}
			err := e.StreamWithContext(p.deadline(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: out, Tty: true, TerminalSizeQueue: sizes})
			close(sizes)
			if exitCode(err) != 5 || !strings.Contains(out.text.String(), "/dev/pts/") {
				t.Errorf("%s: %v after %q", name, err, out.text.String())
			}
		}
	})
	t.Run("attach", func(t *testing.T) {
		for name, e := range executors(t, p.address("attach", "cat", url.Values{"input": {"1"}, "output": {"1"}})) {
			if err := converse(p.deadline(), e, "are you there\n", "are you there\n", remotecommand.StreamOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("attach to a terminal", func(t *testing.T) {
		var width uint16 = 100
		for name, e := range executors(t, p.address("attach", "terminal", url.Values{"input": {"1"}, "output": {"1"}, "tty": {"1"}})) {
			width++
			sizes := make(resizes, 1)
			sizes <- remotecommand.TerminalSize{Width: width, Height: 33}
			size := fmt.Sprintf("33 %d", width)
			if err := converse(p.deadline(), e, size+"\n", "it is "+size, remotecommand.StreamOptions{Tty: true, TerminalSizeQueue: sizes}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			close(sizes)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		if err := p.fetch(80); err != nil {
			t.Error(err)
		}
	})
}

// exitCode is the one of the command that a client heard of, -1 if of none.
func exitCode(err error) int {
	if exit, ok := errors.AsType[exec.CodeExitError](err); ok {
		return exit.Code
	}
	return -1
}

// onTerminal names its terminal, hears of a word on it, and ends when it has had both of a client's sizes.
const onTerminal = `test -c "$(tty)" && tty
until test "$(stty size)" = "33 101"; do sleep 0.1; done
read word; echo "heard $word"
until test "$(stty size)" = "44 121"; do sleep 0.1; done
exit 5`

// resizes are the sizes that a client's terminal comes to have.
type resizes chan remotecommand.TerminalSize

func (r resizes) Next() *remotecommand.TerminalSize {
	size, more := <-r
	if !more {
		return nil
	}
	return &size
}

// resized says of each size that it reads when its terminal has it.
const resized = `while read size; do until test \"$(stty size)\" = \"$size\"; do sleep 0.1; done; echo it is $size; done`

// converse says something to a container and leaves when it has heard what it wants.
func converse(ctx context.Context, e remotecommand.Executor, say, want string, options remotecommand.StreamOptions) error {
	ctx, leave := context.WithCancel(ctx)
	in, mouth := io.Pipe()
	defer mouth.Close()
	heard := &listener{want: want, heard: leave}
	go func() { _, _ = io.WriteString(mouth, say) }() // ends with the pipe
	options.Stdin, options.Stdout = in, heard
	err := e.StreamWithContext(ctx, options)
	if heard.complete() {
		return nil
	}
	return fmt.Errorf("heard %q: %w", heard.text.String(), err)
}

// listener calls heard when it has been written what it wants.
type listener struct {
	want  string
	heard func()
	mu    sync.Mutex
	text  bytes.Buffer
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	n, err := l.text.Write(p)
	l.mu.Unlock()
	if l.complete() {
		l.heard()
	}
	return n, err
}

func (l *listener) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), l.want)
}

// fetch asks a pod's web server for a page, through a forwarded port.
func (p *pod) fetch(port int) error {
	transport, upgrader, err := spdy.RoundTripperFor(client)
	if err != nil {
		return err
	}
	u := p.address("portForward", "", nil)
	u.Path = strings.TrimSuffix(u.Path, "/")
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forward, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forward.ForwardPorts() }() // ends with stop
	select {
	case err := <-ended:
		return err
	case <-ready:
	}
	ports, err := forward.GetPorts()
	if err != nil {
		return err
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if page, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(page), "It works") {
		return fmt.Errorf("the page is %q, %v", page, err)
	}
	return nil
}
