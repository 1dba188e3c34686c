package pod

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/nsutil"
)

// serve lets a server of the test's own listen in the pod and hands each connection to it.
func (p *pod) serve(t *testing.T, address string, handle func(c *net.TCPConn)) int {
	t.Helper()
	var l net.Listener
	listen := func() (err error) { l, err = net.Listen("tcp", address); return err }
	var err error
	if p.config.Linux.SecurityContext.NamespaceOptions.Network == runtime.NamespaceMode_NODE {
		err = listen()
	} else {
		var ns *os.File
		if ns, err = os.Open(p.path("netns/tare-" + p.id[:12])); err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		err = nsutil.InNetNS(ns, listen)
	}
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// answer reads a request to its end and answers with its length and its last bytes.
func answer(c *net.TCPConn) {
	data, err := io.ReadAll(c)
	fmt.Fprintf(c, "%d bytes, %v, %q", len(data), err, data[max(0, len(data)-3):])
}

func TestPortForward(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	pods := map[string]*pod{
		"pod": d.runPod(t),
		"host network": d.runPod(t, podNamespaces(func(o *runtime.NamespaceOption) {
			o.Network = runtime.NamespaceMode_NODE
		})),
	}
	for name, p := range pods {
		t.Run(name, func(t *testing.T) {
			t.Run("half-close by the client", func(t *testing.T) {
				connect := p.portForward(asked{}, p.serve(t, "127.0.0.1:0", answer))
				f := connect()
				f.Write(big)
				f.Close()
				expectAnswer(t, f, `8388608 bytes, <nil>, "def"`)
			})
			t.Run("half-close by the server", func(t *testing.T) {
				got := make(chan int, 1)
				connect := p.portForward(asked{}, p.serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
					c.Write(big)
					c.CloseWrite()
					data, _ := io.ReadAll(c)
					got <- len(data)
				}))
				f := connect()
				if data, err := io.ReadAll(f); err != nil || !bytes.Equal(data, big) {
					t.Errorf("%d bytes, %v", len(data), err)
				}
				f.Write(big)
				f.Close()
				if n := <-got; n != len(big) {
					t.Errorf("server got %d bytes after it had ended its own", n)
				}
			})
			t.Run("IPv6 only", func(t *testing.T) {
				connect := p.portForward(asked{}, p.serve(t, "[::1]:0", answer))
				f := connect()
				f.Write([]byte("abc"))
				f.Close()
				expectAnswer(t, f, `3 bytes, <nil>, "abc"`)
			})
			t.Run("many at once", func(t *testing.T) {
				connect := p.portForward(asked{}, p.serve(t, "127.0.0.1:0", answer))
				var wg sync.WaitGroup
				for i := range 20 {
					f := connect()
					wg.Go(func() {
						fmt.Fprintf(f, "%03d", i)
						f.Close()
						expectAnswer(t, f, fmt.Sprintf(`3 bytes, <nil>, "%03d"`, i))
					})
				}
				wg.Wait()
			})
			t.Run("websocket", func(t *testing.T) {
				connect := p.portForward(asked{websocket: true}, p.serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
					io.CopyN(c, c, 5)
				}))
				f := connect()
				f.Write([]byte("hello"))
				expectAnswer(t, f, "hello")
			})
			t.Run("nobody listens", func(t *testing.T) {
				for _, over := range both {
					f := p.portForward(over, 1)()
					io.ReadAll(f)
					await(t, "the client is told", func() error {
						if text := f.errors.String(); !strings.Contains(text, "connection refused") {
							return errors.New(text)
						}
						return nil
					})
				}
			})
		})
	}
}

func expectAnswer(t *testing.T, f *forwarded, want string) {
	t.Helper()
	data, err := io.ReadAll(f)
	if err != nil || string(data) != want {
		t.Errorf("answer %.100q, %v, want %s; error stream %q", data, err, want, f.errors)
	}
}

// TestPortForwardBreaks breaks either side: the other one notices.
func TestPortForwardBreaks(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	t.Run("client resets", func(t *testing.T) {
		ended := make(chan error, 1)
		connect := p.portForward(asked{}, p.serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
			c.Write([]byte("x"))
			ended <- untilReset(c)
		}))
		f := connect()
		f.Read(make([]byte, 1))
		f.reset()
		if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("server sees %v", err)
		}
	})
	t.Run("client vanishes", func(t *testing.T) {
		for _, half := range []bool{false, true} {
			ended := make(chan error, 1)
			p.portForwardAndVanish(t, half, p.serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
				ended <- untilReset(c)
			}))
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("its input had ended %t: server sees %v", half, err)
			}
		}
	})
	t.Run("server resets", func(t *testing.T) {
		connect := p.portForward(asked{}, p.serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 1))
			c.SetLinger(0)
		}))
		f := connect()
		f.Write([]byte("x"))
		io.ReadAll(f)
		await(t, "the client is told", func() error {
			if text := f.errors.String(); !strings.Contains(text, "connection reset") {
				return errors.New(text)
			}
			return nil
		})
		connect().Close() // others can be made
	})
}

// untilReset reads until the end and waits until the peer has reset the connection.
func untilReset(c *net.TCPConn) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var errno int
	err = until("connection is reset", func() error {
		if err := raw.Control(func(fd uintptr) {
			errno, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		}); err != nil || errno != 0 {
			return err
		}
		return errors.New("it is not")
	})
	if err == nil && errno == int(syscall.EPIPE) { // of one that is half-closed
		return syscall.ECONNRESET
	}
	return errors.Join(err, syscall.Errno(errno))
}

// portForwardAndVanish drops the connection of a client that has forwarded one, whose input may have
// ended.
func (p *pod) portForwardAndVanish(t *testing.T, ended bool, port int) {
	t.Helper()
	resp, err := p.runtime.PortForward(deadline(t), &runtime.PortForwardRequest{PodSandboxId: p.id})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialSPDY(resp.Url, "portforward.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, kind := range []string{"error", "data"} {
		st, err := conn.CreateStream(map[string][]string{"Streamtype": {kind}, "Port": {fmt.Sprint(port)}, "Requestid": {"1"}})
		if err != nil {
			t.Fatal(err)
		}
		conn.RemoveStreams(st) // else Close resets it
		if kind == "data" {
			st.Write([]byte("x"))
		}
		if ended {
			st.Close()
		}
	}
}
