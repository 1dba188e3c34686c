package pod

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/grpc/codes"
)

// adjusting is a plugin that changes every container.
func adjusting(name, idx string, change func(*api.ContainerAdjustment)) *plugin {
	return &plugin{name: name, idx: idx, create: func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		a := &api.ContainerAdjustment{}
		change(a)
		return a, nil, nil
	}}
}

// TestSeveralPlugins: each sees what those before it in the order of their indexes changed, whichever connected first;
// two that want different things of one thing have the container refused, and are both named.
func TestSeveralPlugins(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	saw := make(chan string, 1)
	late := newPlugin(t, d, &plugin{name: "late", idx: "90", create: func(c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		saw <- strings.Join(c.Env, " ")
		a := &api.ContainerAdjustment{}
		a.AddEnv("LATE", "1")
		return a, nil, nil
	}})
	newPlugin(t, d, adjusting("early", "10", func(a *api.ContainerAdjustment) { a.AddEnv("EARLY", "1"); a.SetLinuxCPUShares(222) }))
	if got := pod.start(sleeper).exec("echo $EARLY$LATE"); got != "11\n" {
		t.Errorf("the container has %q of the two", got)
	}
	if env := <-saw; !strings.Contains(env, "EARLY=1") {
		t.Errorf("the later plugin saw %s", env)
	}
	late.stub.Stop()
	newPlugin(t, d, adjusting("other", "50", func(a *api.ContainerAdjustment) { a.SetLinuxCPUShares(333) }))
	_, err := pod.tryCreate(pod.containerConfig(sleeper))
	refused(t, err, codes.FailedPrecondition, "NRI", "10-early", "50-other", "both tried to set", "CPUShares")
}

// TestRejectedHooks: with reject_hooks a plugin that wants a hook has the container refused; without, a hook of a plugin's
// that fails is named.
func TestRejectedHooks(t *testing.T) {
	hook := func(a *api.ContainerAdjustment) {
		a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck; exit 3"}}}})
	}
	for name, tt := range map[string]struct {
		config, call string
		words        []string
	}{
		"rejected": {"nri.reject_hooks = true\n", "create", []string{"NRI", "10-hooking", "restricted OCI hook"}},
		"failing":  {"", "start", []string{"hook createRuntime", "/bin/sh", "exit code 3", "no luck"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := ownDaemon(t, options{config: tt.config})
			d.pull(t, busybox)
			if err := d.warmUp(); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, d)
			p := newPlugin(t, d, adjusting("hooking", "10", hook))
			call, err := d.calls(t, podConfig("hooked"))
			if call != tt.call {
				t.Fatalf("the call that failed is %q: %v; want %q", call, err, tt.call)
			}
			refused(t, err, codes.FailedPrecondition, tt.words...)
			p.stub.Stop()
		})
	}
}

// TestPluginAfterReload: a daemon that reads its configuration again lets go of its plugins, and tells those that come
// back what there is.
func TestPluginAfterReload(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	running := pod.start(sleeper)
	newPlugin(t, d, &plugin{name: "before"})
	d.dropIn(t, "nri.toml", "nri.plugin_request_timeout = \"1s\"\n")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.reloaded(t)
	p := newPlugin(t, d, &plugin{name: "after"})
	if got, want := strings.Join(p.synced, " "), "pod "+pod.id+" container "+running.id; got != want {
		t.Errorf("after a reload the plugin is told of %q, want %q", got, want)
	}
	pod.start(sleeper)
	if got := strings.Join(p.told(), ", "); got != "create created, created created, start created, started running" {
		t.Errorf("events %q", got)
	}
}

// reloaded waits until the daemon serves with the configuration read again.
func (d *daemon) reloaded(t *testing.T) {
	t.Helper()
	await(t, "the configuration is read and the daemon serves", func() error {
		if _, after, ok := strings.Cut(d.logFile(), "starting over with the configuration read again"); !ok || !strings.Contains(after, "serving") {
			return errors.New("not yet")
		}
		return nil
	})
}
