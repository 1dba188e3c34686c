package pod

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/websocket"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/leak"
)

// interactive gives a container stdin, for good or for one session.
func interactive(once bool) option {
	return func(c *runtime.ContainerConfig) { c.Stdin, c.StdinOnce = true, once }
}

func terminal(c *runtime.ContainerConfig) { c.Tty = true }

// TestAttachOutput has several clients attached, one of them for one stream only; each has all that comes
// from then on, and so has the log.
func TestAttachOutput(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(interactive(true), script(
		"echo early; while read x; do [ $x = go ] && break; echo $x; done; seq 100000; echo err >&2; exit 3"))
	c.says("early")
	var clients []*session
	for _, a := range []asked{{}, {websocket: true}, {noStderr: true}, {stdin: true}} {
		clients = append(clients, c.attach(a))
	}
	var want strings.Builder
	for i := range 100000 {
		fmt.Fprintln(&want, i+1)
	}
	for _, s := range clients { // who hears this is attached
		await(t, "a client is attached", func() error {
			clients[3].types("here\n")
			if !strings.Contains(s.stdout.String(), "here\n") {
				return errors.New("it hears nothing")
			}
			return nil
		})
	}
	clients[3].types("go\n")
	for i, s := range clients {
		if code := s.finish(); code != 0 {
			t.Errorf("client %d: outcome %s", i, s.outcome)
		}
		if strings.ReplaceAll(s.stdout.String(), "here\n", "") != want.String() {
			t.Errorf("client %d has %d of %d bytes", i, len(s.stdout.String()), want.Len())
		}
		if err := s.stderr.String(); err != map[bool]string{true: "err\n"}[i != 2] {
			t.Errorf("client %d: stderr %q", i, err)
		}
	}
	if code := c.finish().ExitCode; code != 3 {
		t.Errorf("exit code %d", code)
	}
	if log := strings.ReplaceAll(c.logged("stdout"), "here\n", ""); log != "early\n"+want.String() {
		t.Errorf("the log has %d bytes of %d", len(log), want.Len()+6)
	}
}

func TestAttachInput(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	t.Run("stays open", func(t *testing.T) {
		c := p.start(interactive(false), command("cat"))
		for _, over := range append(both, both...) {
			s := c.attach(asked{stdin: true, websocket: over.websocket})
			s.types("hello\n")
			s.shows("hello\n")
			s.stdin.Close()
			s.leave()
		}
		if state := c.status().State; state != runtime.ContainerState_CONTAINER_RUNNING {
			t.Errorf("container is %s", state)
		}
		c.stop(0)
	})
	t.Run("two at once", func(t *testing.T) {
		c := p.start(interactive(false), command("cat"))
		a, b := c.attach(asked{stdin: true}), c.attach(asked{stdin: true, websocket: true})
		for _, s := range []*session{a, b} { // who hears what it said is attached
			s.types("here\n")
			s.shows("here\n")
		}
		a.types("from a\n")
		b.shows("from a\n")
		b.types("from b\n")
		a.shows("from b\n")
		c.stop(0)
		if a.finish() != 0 || b.finish() != 0 {
			t.Errorf("outcomes %s, %s", a.outcome, b.outcome)
		}
	})
	once := []struct {
		name string
		end  func(s *session)
		over asked
	}{
		{"once, half-close", func(s *session) { s.stdin.Close() }, asked{}},
		{"once, client leaves", func(s *session) { s.leave() }, asked{}},
		{"once, websocket", func(s *session) { s.leave() }, asked{websocket: true}},
	}
	for _, tt := range once {
		t.Run(tt.name, func(t *testing.T) {
			c := p.start(interactive(true), command("cat"))
			watching := c.attach(asked{}) // has no stdin: its end is not the input's
			watching.leave()
			also := c.attach(asked{stdin: true})
			s := c.attach(asked{stdin: true, websocket: tt.over.websocket})
			s.types("hello\n")
			s.shows("hello\n")
			tt.end(s)
			if st := c.finish(); st.ExitCode != 0 || c.logged("stdout") != "hello\n" {
				t.Errorf("exit code %d, log %q", st.ExitCode, c.logged("stdout"))
			}
			also.finish()
		})
	}
	t.Run("once, closed", func(t *testing.T) {
		c := p.start(interactive(true), script("cat; echo closed; read x || echo still closed; sleep 1000 & wait"))
		c.attach(asked{stdin: true}).stdin.Close()
		c.says("still closed")
		s := c.attach(asked{stdin: true})
		s.types("hello\n") // goes nowhere
		c.stop(0)
		s.finish()
	})
	t.Run("input only", func(t *testing.T) {
		c := p.start(interactive(false), command("cat"))
		s := c.attach(asked{stdin: true, noStdout: true, noStderr: true})
		s.types("hello\n")
		s.stdin.Close()
		if code := s.finish(); code != 0 {
			t.Errorf("outcome %s", s.outcome)
		}
		c.says("hello")
		c.stop(0)
	})
	t.Run("nobody ever attaches", func(t *testing.T) {
		c := p.start(interactive(true), command("cat"))
		c.stop(0)
	})
	t.Run("start fails", func(t *testing.T) {
		if p.create(interactive(true), command("/no/such")).tryStart() == nil {
			t.Error("no error")
		}
	})
}

func TestAttachTerminal(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	for _, over := range both {
		t.Run(over.String(), func(t *testing.T) {
			c := p.start(interactive(false), terminal, script("trap 'stty size' WINCH; echo ready; until read code; do :; done; exit $code"))
			c.says("ready")
			watching := c.attach(asked{tty: true})
			s := c.attach(asked{stdin: true, tty: true, websocket: over.websocket})
			s.resize(97, 31)
			s.shows("31 97\r\n")
			s.leave()
			s = c.attach(asked{stdin: true, tty: true, websocket: over.websocket})
			s.resize(100, 40)
			s.shows("40 100\r\n")
			s.types("4\n")
			if s.finish() != 0 || c.finish().ExitCode != 4 {
				t.Errorf("outcome %s, exit code %d", s.outcome, c.status().ExitCode)
			}
			if watching.finish() != 0 || !strings.Contains(watching.stdout.String(), "31 97\r\n40 100\r\n4\r\n") {
				t.Errorf("the other client has %q", watching.stdout)
			}
		})
	}
}

// TestAttachSlowClient does not read: neither container nor log nor others wait, and the client is
// told. It speaks WebSocket, of which nothing between here and the socket reads ahead.
func TestAttachSlowClient(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(interactive(false), script(
		"read slow; echo $slow; read go; for i in $(seq 40); do head -c 1000000 /dev/zero | tr '\\0' x; read more; done; echo; echo done >&2"))
	resp, err := d.runtime.Attach(deadline(t), &runtime.AttachRequest{ContainerId: c.id, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	slow, err := dialWebSocket(resp.Url)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(&channel{slow, 0}, "here\n"); err != nil {
		t.Fatal(err)
	}
	for heard := ""; heard != "\x01here\n"; { // then it is attached, and reads no more
		if err := websocket.Message.Receive(slow, &heard); err != nil {
			t.Fatal(err)
		}
	}
	s := c.attach(asked{stdin: true})
	s.types("go\n")
	for i := range 40 { // in step with the quick client, however slow the machine is
		await(t, "the quick client has it", func() error {
			if got := s.stdout.Len(); got < (i+1)*1000000 {
				return fmt.Errorf("it has %d bytes", got)
			}
			return nil
		})
		s.types("more\n")
	}
	if s.finish() != 0 || len(s.stdout.String()) != 40000001 || s.stderr.String() != "done\n" {
		t.Errorf("the quick client has %d bytes, outcome %s", len(s.stdout.String()), s.outcome)
	}
	if got := len(c.logged("stdout")); got != len("here\n")+40000001 {
		t.Errorf("the log has %d bytes", got)
	}
	await(t, "the slow session ends", func() error {
		if text := d.logFile(); !strings.Contains(text, "does not take the output as fast") {
			return errors.New("it goes on")
		}
		return nil
	})
}

// TestAttachLeave attaches to a silent container and leaves: nothing stays open.
func TestAttachLeave(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(interactive(false), sleeper)
	open := func() leak.Snapshot {
		all := leak.Snapshot{}
		for name, pid := range map[string]int{"daemon": d.pid(), "keeper": d.keeperPID()} {
			fds, err := leak.FDs(pid)
			if err != nil {
				t.Fatal(err)
			}
			for line := range fds {
				all[name+" "+line] = true
			}
		}
		return all
	}
	await(t, "namespaces are made in advance", d.ahead) // in the place of those the pod has taken
	before := open()
	for _, over := range both {
		for _, a := range []asked{{}, {stdin: true}, {noStdout: true}} {
			a.websocket = over.websocket
			c.attach(a).leave()
		}
	}
	await(t, "all is closed", func() error {
		if lines := leak.Diff(before, open()); len(lines) > 0 {
			return errors.New(strings.Join(lines, "\n"))
		}
		return nil
	})
}

// TestAttachSurvival kills the daemon, or its keeper: stdin is there for the next session, or closed if
// it was closed.
func TestAttachSurvival(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p := d.runPod(t)
	restarts := []struct {
		name string
		do   func()
	}{
		{"daemon", func() {
			d.signal(syscall.SIGKILL)
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
		}},
		{"keeper", func() {
			old := d.keeperPID()
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, "another keeper", func() error {
				if now := d.keeperPID(); now == 0 || now == old {
					return errors.New("none yet")
				}
				return nil
			})
		}},
	}
	for _, restart := range restarts {
		t.Run(restart.name, func(t *testing.T) {
			open := p.start(interactive(false), command("cat"))
			fresh := p.start(interactive(true), command("cat"))
			tty := p.start(interactive(true), terminal, script("echo ready; read a; echo got $a; read b; echo got $b"))
			closed := p.start(interactive(true), script("cat; echo closed; read x || echo still; sleep 1000 & wait"))
			closed.attach(asked{stdin: true}).stdin.Close()
			closed.says("still")
			before := open.attach(asked{stdin: true})
			before.types("one\n")
			before.shows("one\n")
			restart.do()
			before.finish()

			s := open.attach(asked{stdin: true})
			s.types("two\n")
			s.shows("two\n")
			s = fresh.attach(asked{stdin: true})
			s.types("one\n")
			s.shows("one\n")
			s.stdin.Close()
			if st := fresh.finish(); st.ExitCode != 0 {
				t.Errorf("exit code %d", st.ExitCode)
			}
			s = tty.attach(asked{stdin: true, tty: true})
			s.types("x\n")
			s.shows("got x\r\n")
			s.leave()
			s = closed.attach(asked{stdin: true})
			s.types("nowhere\n")
			for _, c := range []*ctr{open, tty, closed} {
				c.stop(0)
			}
		})
	}
}
