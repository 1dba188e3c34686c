package pod

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// both are the protocols a session can be asked for in.
var both = []asked{{}, {websocket: true}}

func TestExecStream(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	c := p.start(sleeper)
	for _, over := range both {
		tests := []struct {
			name           string
			asked          asked
			cmd            []string
			stdout, stderr string
			code           int
		}{
			{name: "outputs", cmd: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "err\n"},
			{name: "exit code", cmd: []string{"sh", "-c", "exit 7"}, code: 7},
			{name: "signal", cmd: []string{"sh", "-c", "kill -9 $$"}, code: 128 + 9},
			{name: "stdout only", asked: asked{noStderr: true}, cmd: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n"},
			{name: "stderr only", asked: asked{noStdout: true}, cmd: []string{"sh", "-c", "echo out; echo err >&2"}, stderr: "err\n"},
			{name: "no stdin is an empty one", cmd: []string{"cat"}},
			{name: "terminal", asked: asked{tty: true}, cmd: []string{"sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo yes"}, stdout: "yes\r\n"},
			{name: "no terminal", cmd: []string{"sh", "-c", "test -t 0 || test -t 1 || test -t 2 || echo no"}, stdout: "no\n"},
			{name: "exit code with a terminal", asked: asked{tty: true}, cmd: []string{"sh", "-c", "exit 3"}, code: 3},
			{name: "child holds the output", cmd: []string{"sh", "-c", "echo out; sleep 100000 & exit 0"}, stdout: "out\n"},
			{name: "no such command", cmd: []string{"/no/such"}, code: -1},
		}
		for _, tt := range tests {
			t.Run(over.String()+"/"+tt.name, func(t *testing.T) {
				tt.asked.websocket = over.websocket
				s := c.session(tt.asked, tt.cmd...)
				if code := s.finish(); code != tt.code {
					t.Errorf("exit code %d, want %d: %s", code, tt.code, s.outcome)
				}
				if out, err := s.stdout.String(), s.stderr.String(); out != tt.stdout || err != tt.stderr {
					t.Errorf("stdout %q, stderr %q, want %q, %q", out, err, tt.stdout, tt.stderr)
				}
			})
		}
	}
	c.exec("true")
}

// TestExecInput sends more than pipes hold through cat, whose end comes by the half-close.
func TestExecInput(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(sleeper)
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	s := c.session(asked{stdin: true}, "cat")
	go func() { // ends when all is taken
		s.stdin.Write(data)
		s.stdin.Close()
	}()
	if code := s.finish(); code != 0 || s.stdout.String() != string(data) {
		t.Errorf("exit code %d, %d of %d bytes back: %s", code, len(s.stdout.String()), len(data), s.outcome)
	}
	t.Run("not taken", func(t *testing.T) {
		for _, over := range both {
			s := c.session(asked{stdin: true, websocket: over.websocket}, "sh", "-c", "exec <&-; sleep 0.2; echo done")
			go s.stdin.Write(data) // nobody reads it
			if code := s.finish(); code != 0 || s.stdout.String() != "done\n" {
				t.Errorf("%s: exit code %d, stdout %q", over, code, s.stdout)
			}
		}
	})
	t.Run("websocket", func(t *testing.T) {
		s := c.session(asked{stdin: true, websocket: true}, "sh", "-c", "read a; echo $a; read b; echo $b")
		s.types("one\n")
		s.shows("one\n")
		s.types("two\n")
		if code := s.finish(); code != 0 || s.stdout.String() != "one\ntwo\n" {
			t.Errorf("exit code %d, stdout %q", code, s.stdout)
		}
	})
}

func TestExecTerminal(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	for name, c := range map[string]*ctr{
		"root": p.start(sleeper),
		"user": p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUser = &runtime.Int64Value{Value: 1000}
		})),
	} {
		for _, over := range both {
			t.Run(name+"/"+over.String(), func(t *testing.T) {
				s := c.session(asked{stdin: true, tty: true, websocket: over.websocket}, "sh", "-c",
					"trap 'stty size' WINCH; tty; stty -echo; until read code; do :; done; exit $code")
				s.shows("/dev/pts/")
				s.resize(97, 31)
				s.shows("31 97\r\n")
				s.resize(100, 40)
				s.shows("40 100\r\n")
				s.types("4\n")
				if code := s.finish(); code != 4 {
					t.Errorf("exit code %d: %s", code, s.outcome)
				}
			})
		}
	}
}

// TestExecClientLeaves drops connections: a terminal hangs up, an input ends, and a command that
// neither reads nor writes goes on.
func TestExecClientLeaves(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(sleeper)
	tests := []struct {
		name  string
		asked asked
		cmd   string
		stays bool
	}{
		{"terminal", asked{stdin: true, tty: true}, "trap 'touch /tmp/left' HUP; echo ready; sleep 3210 & wait", false},
		{"terminal without input", asked{tty: true}, "trap 'touch /tmp/left' HUP; echo ready; sleep 3210 & wait", false},
		{"input", asked{stdin: true}, "echo ready; cat; touch /tmp/left", false},
		{"output", asked{}, "echo ready; trap '' PIPE; while echo; do sleep 0.01; done; touch /tmp/left", false},
		{"neither", asked{}, "echo ready; sleep 3210", true},
	}
	for _, tt := range tests {
		for _, over := range both {
			t.Run(tt.name+"/"+over.String(), func(t *testing.T) {
				tt.asked.websocket = over.websocket
				s := c.session(tt.asked, "sh", "-c", tt.cmd)
				s.shows("ready")
				s.leave()
				if tt.stays {
					c.exec("pgrep -f 'sleep 3210'")
				} else {
					await(t, "the command notices", func() error {
						if left := c.exec("ls /tmp"); !strings.Contains(left, "left") {
							return errors.New(left)
						}
						return nil
					})
				}
				c.exec("rm -f /tmp/left; pkill -f 'sleep 3210'; true")
			})
		}
	}
}

func TestStreamRefusals(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	c := p.start(sleeper)
	tty := p.start(sleeper, func(c *runtime.ContainerConfig) { c.Tty = true })
	created := p.create(sleeper)
	exited := p.start(script("true"))
	exited.finish()
	stopped := d.runPod(t)
	if _, err := d.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: stopped.id}); err != nil {
		t.Fatal(err)
	}
	exec := func(r *runtime.ExecRequest) error { _, err := d.runtime.Exec(deadline(t), r); return err }
	attach := func(r *runtime.AttachRequest) error { _, err := d.runtime.Attach(deadline(t), r); return err }
	forward := func(r *runtime.PortForwardRequest) error {
		_, err := d.runtime.PortForward(deadline(t), r)
		return err
	}
	ls := []string{"ls"}
	tests := []struct {
		name string
		err  error
		code codes.Code
		word string
	}{
		{"exec: no container", exec(&runtime.ExecRequest{ContainerId: "feed", Cmd: ls, Stdout: true}), codes.NotFound, "feed"},
		{"exec: empty id", exec(&runtime.ExecRequest{Cmd: ls, Stdout: true}), codes.InvalidArgument, "id"},
		{"exec: created", exec(&runtime.ExecRequest{ContainerId: created.id, Cmd: ls, Stdout: true}), codes.FailedPrecondition, "created"},
		{"exec: exited", exec(&runtime.ExecRequest{ContainerId: exited.id, Cmd: ls, Stdout: true}), codes.FailedPrecondition, "exited"},
		{"exec: no command", exec(&runtime.ExecRequest{ContainerId: c.id, Stdout: true}), codes.InvalidArgument, "cmd"},
		{"exec: no stream", exec(&runtime.ExecRequest{ContainerId: c.id, Cmd: ls}), codes.InvalidArgument, "stdin"},
		{"exec: two outputs of a terminal", exec(&runtime.ExecRequest{ContainerId: c.id, Cmd: ls, Tty: true, Stdout: true, Stderr: true}), codes.InvalidArgument, "stderr"},
		{"attach: no container", attach(&runtime.AttachRequest{ContainerId: "feed", Stdout: true}), codes.NotFound, "feed"},
		{"attach: created", attach(&runtime.AttachRequest{ContainerId: created.id, Stdout: true}), codes.FailedPrecondition, "created"},
		{"attach: exited", attach(&runtime.AttachRequest{ContainerId: exited.id, Stdout: true}), codes.FailedPrecondition, "exited"},
		{"attach: no stream", attach(&runtime.AttachRequest{ContainerId: c.id}), codes.InvalidArgument, "stdin"},
		{"attach: tty for none", attach(&runtime.AttachRequest{ContainerId: c.id, Stdout: true, Tty: true}), codes.InvalidArgument, "tty"},
		{"attach: none for tty", attach(&runtime.AttachRequest{ContainerId: tty.id, Stdout: true}), codes.InvalidArgument, "tty"},
		{"attach: container has no stdin", attach(&runtime.AttachRequest{ContainerId: c.id, Stdin: true}), codes.InvalidArgument, "stdin"},
		{"port-forward: no pod", forward(&runtime.PortForwardRequest{PodSandboxId: "feed", Port: []int32{80}}), codes.NotFound, "feed"},
		{"port-forward: stopped", forward(&runtime.PortForwardRequest{PodSandboxId: stopped.id, Port: []int32{80}}), codes.FailedPrecondition, "not ready"},
		{"port-forward: port 0", forward(&runtime.PortForwardRequest{PodSandboxId: p.id, Port: []int32{80, 0}}), codes.InvalidArgument, "port[1]"},
		{"port-forward: port 65536", forward(&runtime.PortForwardRequest{PodSandboxId: p.id, Port: []int32{65536}}), codes.InvalidArgument, "port[0]"},
	}
	for _, tt := range tests {
		if status.Code(tt.err) != tt.code || !strings.Contains(fmt.Sprint(tt.err), tt.word) {
			t.Errorf("%s: %v, want %s and the word %q", tt.name, tt.err, tt.code, tt.word)
		}
	}
}

// TestStreamToken uses addresses twice, and wrong ones.
func TestStreamToken(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	c := d.runPod(t).start(sleeper)
	url := c.execURL(asked{}, "true")
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Errorf("address %s is not on the loopback", url)
	}
	if code := connect(t, asked{}, url).finish(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	fresh := c.execURL(asked{}, "touch", "/tmp/ran")
	expectNotFound(t, "used", url)
	expectNotFound(t, "unknown", url[:strings.LastIndexByte(url, '/')]+"/AAAAAAAA")
	expectNotFound(t, "of another kind", strings.Replace(fresh, "/exec/", "/attach/", 1))
	expectNotFound(t, "used up by another kind", fresh)
	if c.exec("ls /tmp") != "" {
		t.Error("the command ran")
	}
}

func expectNotFound(t *testing.T, name, url string) {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		body, _ := io.ReadAll(resp.Body)
		t.Errorf("%s: %s %s, want 404", name, resp.Status, body)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestStreamingConfig listens where the configuration says, and ends sessions with the daemon, which
// takes commands with it but not containers.
func TestStreamingConfig(t *testing.T) {
	d := ownDaemon(t, options{config: "streaming.address = '::1'\nstreaming.port = 23456\n"})
	d.pull(t, busybox)
	p := d.runPod(t)
	c := p.start(sleeper)
	url := c.execURL(asked{tty: true}, "sh", "-c", "echo ready; exec sleep 7654")
	if !strings.HasPrefix(url, "http://[::1]:23456/exec/") {
		t.Errorf("address %s is not as configured", url)
	}
	s := connect(t, asked{tty: true}, url)
	s.shows("ready")
	d.signal(syscall.SIGTERM)
	s.finish()
	await(t, "the command ends with the daemon", func() error { return noProcess("sleep", "7654") })
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if out := c.exec("echo alive"); out != "alive\n" {
		t.Errorf("after the restart: %q", out)
	}
}

// noProcess says whether no process on the host has these arguments.
func noProcess(args ...string) error {
	for _, pid := range processes() {
		if got := cmdline(pid); strings.Join(got, " ") == strings.Join(args, " ") {
			return fmt.Errorf("process %d does", pid)
		}
	}
	return nil
}
