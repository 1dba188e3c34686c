package pod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestOCIRuntimeGone has a handler become another one, or none, while containers of it run: they stay with the runtime
// that made them, and of it nothing stays.
func TestOCIRuntimeGone(t *testing.T) {
	_, programs := ociConfig(t)
	d := ociDaemon(t, "")
	for _, program := range programs {
		dir := t.TempDir()
		path, moved, other := dir+"/runtime", dir+"/moved", dir+"/other"
		writeFile(t, other, "#!/bin/sh\necho this is another program >&2; exit 1\n")
		for _, c := range []struct {
			name     string
			change   func() error
			handler  string // the program it has afterwards
			noEnter  bool   // commands cannot be executed any more
			stateDir bool   // stays
		}{
			{name: "not configured"},
			{name: "another program", handler: other, stateDir: true},
			{name: "program moved", change: func() error { return os.Rename(path, moved) }, handler: moved, stateDir: true},
			{name: "program not there", change: func() error { return os.Remove(path) }, noEnter: true},
			{name: "program configured but not there", change: func() error { return os.Remove(path) }, handler: path, noEnter: true, stateDir: true},
		} {
			t.Run(program+"/"+c.name, func(t *testing.T) {
				copyProgram(t, program, path)
				chmod(t, other)
				d.restartWith(t, handlerOf(path))
				leavesNothing(t, d)
				p := d.runPodBy(t, "changing")
				running, left, created := p.start(script("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")), p.start(sleeper), p.create(sleeper)
				running.says("ready")
				if c.change != nil {
					if err := c.change(); err != nil {
						t.Fatal(err)
					}
				}
				d.restartWith(t, handlerOf(c.handler))
				resp, err := running.tryExec(0, "echo", "here")
				if c.noEnter {
					if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), path) {
						t.Errorf("exec without a runtime: %v, %v", resp, err)
					}
					if err := created.tryStart(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), path) {
						t.Errorf("start without a runtime: %v", err)
					}
				} else if err != nil || string(resp.Stdout) != "here\n" {
					t.Errorf("exec: %v, %v", resp, err)
				}
				running.stop(10)
				if s := running.finish(); s.ExitCode != 9 {
					t.Errorf("exit code %d", s.ExitCode)
				}
				if err := left.tryRemove(); err != nil {
					t.Error(err)
				}
				p.remove()
				switch _, err := os.Stat(d.path("state/oci/changing")); {
				case c.stateDir:
					d.hasNoState(t, "changing")
				case !errors.Is(err, fs.ErrNotExist):
					t.Errorf("the directory of a handler that is no more: %v", err)
				}
			})
		}
	}
}

// handlerOf is the configuration of a handler, none without a program.
func handlerOf(program string) string {
	if program == "" {
		return ""
	}
	return fmt.Sprintf("[handlers.changing]\nbinary = %q\n", program)
}

// restartWith starts the daemon anew, with more configuration.
func (d *daemon) restartWith(t *testing.T, config string) {
	t.Helper()
	d.dropIn(t, "handlers.toml", config)
	d.signal(syscall.SIGTERM)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
}

// copyProgram copies what is in PATH.
func copyProgram(t *testing.T, name, path string) {
	t.Helper()
	from, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(data))
	chmod(t, path)
}

func chmod(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// awaitUserNS waits until Status says whether a handler has user namespaces.
func (d *daemon) awaitUserNS(t *testing.T, handler string, want bool) {
	t.Helper()
	await(t, fmt.Sprintf("user namespaces of handler %q: %v", handler, want), func() error {
		resp, err := d.runtime.Status(deadline(t), &runtime.StatusRequest{})
		if err != nil {
			return err
		}
		for _, h := range resp.RuntimeHandlers {
			if h.Name == handler && h.Features.UserNamespaces == want {
				return nil
			}
		}
		return errors.New("it is not so")
	})
}

// TestOCIRuntimeHangs has handlers that do not answer what they can do: the daemon serves and ends as without them, and
// of those that answer it is known.
func TestOCIRuntimeHangs(t *testing.T) {
	const hangs = "sleep 36471"
	dir := t.TempDir()
	config, _ := ociConfig(t)
	for i := range 3 {
		path := fmt.Sprintf("%s/hangs%d", dir, i)
		writeFile(t, path, "#!/bin/sh\ntouch $0.asked\n"+hangs+"\n")
		chmod(t, path)
		config += fmt.Sprintf("[handlers.hangs%d]\nbinary = %q\n", i, path)
	}
	d := ociDaemon(t, "")
	d.restartWith(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: podConfig("pod", inUserNS), RuntimeHandler: "hangs0"})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a pod with a user namespace, before it is known whether there are any: %v", err)
	}
	d.runPodBy(t, "hangs0").remove() // asks for nothing special
	d.awaitUserNS(t, "runc", true)
	for i := range 3 {
		await(t, "it is asked", func() error { _, err := os.Stat(fmt.Sprintf("%s/hangs%d.asked", dir, i)); return err })
	}
	d.signal(syscall.SIGTERM)
	for _, pid := range processes() {
		if line := strings.Join(cmdline(pid), " "); line == hangs || strings.Contains(line, dir) {
			t.Errorf("it is left: %s", line)
		}
	}
	d.restartWith(t, "")
}

// TestOCIRuntimeTakesTooLong has a runtime that does not come to an end with a create or a start, and one that says it has
// created and sends no terminal: the container's start fails, and the pod is removed like any other.
func TestOCIRuntimeTakesTooLong(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	dir, config := t.TempDir(), ""
	for name, does := range map[string]string{"create": "sleep 36472", "start": "sleep 36472", "silent": "exit 0"} {
		verb := strings.Replace(name, "silent", "create", 1)
		path := dir + "/" + name
		writeFile(t, path, fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" %s \"*) %s;; esac\nexec %s \"$@\"\n", verb, does, runc))
		chmod(t, path)
		config += fmt.Sprintf("[handlers.%s]\nbinary = %q\ntimeout = \"1s\"\n", name, path)
	}
	d := ociDaemon(t, config)
	terminal := func(c *runtime.ContainerConfig) { c.Tty = true }
	for _, tt := range []struct {
		handler string
		options []option
		words   []string
	}{
		{"create", []option{sleeper}, []string{"/create create", "did not end within 1s and was killed"}},
		{"create", []option{sleeper, terminal}, []string{"/create create", "did not end within 1s and was killed"}},
		{"start", []option{sleeper}, []string{"/start start", "did not end within 1s and was killed"}},
		{"silent", []option{sleeper, terminal}, []string{"/silent create", "no terminal was sent"}},
	} {
		t.Run(fmt.Sprint(tt.handler, len(tt.options)), func(t *testing.T) {
			leavesNothing(t, d)
			p := d.runPodBy(t, tt.handler)
			c := p.create(tt.options...)
			refused(t, c.tryStart(), codes.FailedPrecondition, append(tt.words, "runtime handler "+tt.handler)...)
			if s := c.status(); s.Reason != "StartError" {
				t.Errorf("%v", s)
			}
			p.remove()
			d.hasNoState(t, tt.handler)
		})
	}
	for _, pid := range processes() {
		if line := strings.Join(cmdline(pid), " "); line == "sleep 36472" {
			t.Errorf("it is left: %d %s", pid, line)
		}
	}
}
