package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/grpc/codes"
)

// startedAsPlugin says whether a daemon started this program from its directory of plugins.
func startedAsPlugin() bool { return os.Getenv(api.PluginSocketEnvVar) != "" }

// servePlugin is the whole life of such a program.
func servePlugin() int {
	s, err := stub.New(&startedPlugin{})
	if err == nil {
		err = s.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startedPlugin gives every container its configuration as a variable. With hangsAt in front, that is a file where it
// writes its pid when it is asked, and it never answers.
type startedPlugin struct{ config string }

func (p *startedPlugin) Configure(_ context.Context, config, _, _ string) (api.EventMask, error) {
	p.config = config
	return 0, nil
}

const hangsAt = "hangs at "

func (p *startedPlugin) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if path, ok := strings.CutPrefix(p.config, hangsAt); ok {
		if err := os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
			return nil, nil, err
		}
		select {}
	}
	a := &api.ContainerAdjustment{}
	a.AddEnv("CONFIGURED", p.config)
	return a, nil, nil
}

// hasPlugin puts this program into the directory of plugins, as 10-started.
func (d *daemon) hasPlugin(t *testing.T, config string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"nri", "nri.d"} {
		if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, d.path("nri/10-started")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.path("nri.d/10-started.conf"), config)
}

// TestStartedPlugins: programs in the directory of plugins are started with the daemon, get their configurations and
// are asked; one that is required and not there keeps containers from being created.
func TestStartedPlugins(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	d.hasPlugin(t, "of its file")
	writeFile(t, d.path("nri/20-no-plugin"), "#!/no/such/interpreter\n")
	if err := os.Chmod(d.path("nri/20-no-plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.dropIn(t, "nri.toml", "nri.required_plugins = [\"started\"]\n")
	d.restart(t)
	if got, want := pod.start(sleeper).exec(`echo "$CONFIGURED"`), "of its file\n"; got != want {
		t.Errorf("with a started plugin the container has %q, want %q", got, want)
	}
	d.dropIn(t, "nri.toml", "nri.required_plugins = [\"absent\"]\n")
	d.restart(t)
	_, err := pod.tryCreate(pod.containerConfig(sleeper))
	refused(t, err, codes.FailedPrecondition, "absent")
	if err := os.RemoveAll(d.path("nri")); err != nil {
		t.Fatal(err)
	}
	d.restart(t)
	_, err = pod.tryCreate(pod.containerConfig(sleeper))
	refused(t, err, codes.FailedPrecondition, "absent")
}

// TestPluginAfterRestart: the next daemon tells plugins what runs.
func TestPluginAfterRestart(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	running := pod.start(sleeper)
	newPlugin(t, d, &plugin{})
	d.restart(t)
	p := newPlugin(t, d, &plugin{})
	if want := []string{"pod " + pod.id, "container " + running.id}; !slices.Equal(p.synced, want) {
		t.Errorf("after a restart the plugin is told of %q, want %q", p.synced, want)
	}
	pod.remove()
	if got, want := p.told(), []string{"stop stopped", "stop pod", "remove stopped", "remove pod"}; !slices.Equal(got, want) {
		t.Errorf("events\n%q\nwant\n%q", got, want)
	}
}

// TestPluginsThatAreNone: what connects and talks nonsense, and what dies while it is asked, costs nobody anything.
func TestPluginsThatAreNone(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_registration_timeout = \"300ms\"\n"})
	d.pull(t, busybox)
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		c, err := net.Dial("unix", d.path("nri.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if call, err := d.calls(t, podConfig("nonsense")); err != nil {
		t.Errorf("with those that talk nonsense, %s: %v", call, err)
	}
	var once sync.Once
	dies := &plugin{only: "dies"}
	dies.create = func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		once.Do(dies.stub.Stop)
		return nil, nil, errors.New("nobody is told this")
	}
	newPlugin(t, d, dies)
	if call, err := d.calls(t, podConfig("dies")); err != nil {
		t.Errorf("with one that dies, %s: %v", call, err)
	}
	if got := dies.told(); !slices.Equal(got, []string{"run pod", "create created"}) {
		t.Errorf("it was told of %q", got)
	}
}

// TestCreateBeforePodIsAdmitted: a plugin knows of a pod before it is there; that does not wait for the plugin's word.
func TestCreateBeforePodIsAdmitted(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_request_timeout = \"1m\"\n"})
	d.pull(t, busybox)
	var early error
	p := &plugin{}
	p.before = func(event string) error {
		if event == "run pod" {
			pending := &pod{d, t, p.pod, podConfig("pending")}
			_, early = pending.tryCreate(pending.containerConfig(sleeper))
		}
		return nil
	}
	newPlugin(t, d, p)
	pod := d.runPod(t)
	refused(t, early, codes.FailedPrecondition, "not ready")
	pod.start(sleeper)
}

// TestPluginKilledWhileAsked: several pods start while a plugin is asked and killed for good. All of them start, long before the
// plugin's time is up.
func TestPluginKilledWhileAsked(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_request_timeout = \"10m\"\n"})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	d.hasPlugin(t, hangsAt+file)
	d.restart(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if call, err := d.calls(t, podConfig(fmt.Sprint("beside-", i))); err != nil {
				t.Errorf("pod %d, %s: %v", i, call, err)
			}
		})
	}
	var pid int
	await(t, "the plugin is asked", func() error {
		text, err := os.ReadFile(file)
		if err == nil {
			_, err = fmt.Fscanln(bytes.NewReader(text), &pid)
		}
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	wg.Wait()
	await(t, "the plugin is nobody's any more", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is there, or its end unread: %v", pid, err)
		}
		return nil
	})
	leavesNothing(t, d)
	if call, err := d.calls(t, podConfig("afterwards")); err != nil {
		t.Errorf("when it is gone, %s: %v", call, err)
	}
}
