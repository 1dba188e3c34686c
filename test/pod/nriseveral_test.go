package pod

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
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

// TestRejectedAdjustments: what nri.reject names, no plugin adjusts; a hook of a plugin's that fails is named.
func TestRejectedAdjustments(t *testing.T) {
	hook := func(a *api.ContainerAdjustment) {
		a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck; exit 3"}}}})
	}
	for name, tt := range map[string]struct {
		reject, call string
		adjust       func(*api.ContainerAdjustment)
		words        []string
	}{
		"hooks":      {"'hooks'", "create", hook, []string{"NRI", "10-eager", "restricted OCI hook"}},
		"a bad hook": {"'seccomp'", "start", hook, []string{"hook createRuntime", "/bin/sh", "exit code 3", "no luck"}},
		"namespaces": {"'hooks', 'namespaces'", "create", func(a *api.ContainerAdjustment) { a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "ipc"}) },
			[]string{"NRI", "10-eager", "namespace"}},
		"sysctls": {"'sysctls'", "create", func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.core.somaxconn", "7") }, []string{"NRI", "10-eager", "sysctl"}},
		"seccomp": {"'seccomp'", "create", func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW"})
		}, []string{"NRI", "10-eager", "seccomp policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := ownDaemon(t, options{config: "nri.reject = [" + tt.reject + "]\n"})
			d.pull(t, busybox)
			if err := d.warmUp(); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, d)
			p := newPlugin(t, d, adjusting("eager", "10", tt.adjust))
			call, err := d.calls(t, podConfig("adjusted"))
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

// TestPluginReconnects: a plugin outlives daemons that are killed and that end, connects to the next each time, is told what
// there is by then, and is asked.
func TestPluginReconnects(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p := newPlugin(t, d, adjusting("faithful", "10", func(a *api.ContainerAdjustment) { a.AddEnv("ASKED", "1") }))
	pod := d.runPod(t)
	want := []string{"pod " + pod.id}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		c := pod.start(sleeper)
		want = append(want, "container "+c.id)
		if got := c.exec("echo $ASKED"); got != "1\n" {
			t.Errorf("before %v, the container has %q of the plugin", end, got)
		}
		d.signal(end)
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		unasked := pod.start(sleeper)
		want = append(want, "container "+unasked.id)
		p.connect(d)
		slices.Sort(want)
		if slices.Sort(p.synced); !slices.Equal(p.synced, want) {
			t.Errorf("after %v the plugin is told of %q, want %q", end, p.synced, want)
		}
	}
	if got := pod.start(sleeper).exec("echo $ASKED"); got != "1\n" {
		t.Errorf("in the end, the container has %q of the plugin", got)
	}
}

// TestPluginEvicts: a container that a plugin wants ended because of an event, which the library keeps to itself, ends.
func TestPluginEvicts(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	victim := d.runPod(t).start(sleeper)
	evict := func(ctx context.Context, unmarshal ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		resp, err := method(ctx, unmarshal)
		if r, ok := resp.(*api.CreateContainerResponse); ok { // the library's plugins have no word for it
			r.Evict = []*api.ContainerEviction{{ContainerId: victim.id, Reason: "too loud"}}
		}
		return resp, err
	}
	newPlugin(t, d, &plugin{name: "evicting", more: []stub.Option{stub.WithTTRPCOptions(nil, []ttrpc.ServerOpt{ttrpc.WithUnaryServerInterceptor(evict)})}})
	victim.pod.start(sleeper)
	evicted(t, d, victim)
}

// evicted waits for the end that an eviction is, and looks for the reason in the log.
func evicted(t *testing.T, d *daemon, victim *ctr) {
	t.Helper()
	if s := victim.finish(); s.ExitCode != 137 {
		t.Errorf("it ended with %d", s.ExitCode)
	}
	if want := `msg="a plugin evicts a container" container=` + victim.id + ` reason="too loud"`; strings.Count(d.logFile(), want) != 1 {
		t.Errorf("the log does not say once %s", want)
	}
}

// TestPluginEvictsOfItsOwnAccord: so does one that it wants ended beside any event; one that is not there is none.
func TestPluginEvictsOfItsOwnAccord(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	victim := d.runPod(t).start(sleeper)
	evict, err := proto.Marshal(&api.UpdateContainersRequest{Evict: []*api.ContainerEviction{
		{ContainerId: "somebody", Reason: "nobody"}, {ContainerId: victim.id, Reason: "too loud"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	with := func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
		if req.Method == "UpdateContainers" { // what follows a message is one with it
			req.Payload = append(req.Payload, evict...)
		}
		return invoke(ctx, req, resp)
	}
	p := newPlugin(t, d, &plugin{name: "evicting", more: []stub.Option{stub.WithTTRPCOptions([]ttrpc.ClientOpts{ttrpc.WithUnaryClientInterceptor(with)}, nil)}})
	if failed, err := p.stub.UpdateContainers(nil); len(failed) > 0 || err != nil {
		t.Errorf("failed %v, %v", failed, err)
	}
	evicted(t, d, victim)
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

// TestPluginThatMustAnswer: with the policy fail_request a plugin that does not answer in time has the call fail, in its name; with
// keep_connected it is asked again the next time.
func TestPluginThatMustAnswer(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_request_timeout = \"300ms\"\n"})
	d.pull(t, busybox)
	pod := d.runPod(t)
	for name, kept := range map[string]bool{"let-go": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			var slow atomic.Bool
			slow.Store(true)
			p := &plugin{name: name, before: func(event string) error {
				if slow.Load() && event == "create created" {
					time.Sleep(time.Second)
				}
				return nil
			}}
			p.more = []stub.Option{stub.WithFailurePolicy(&api.FailurePolicy{FailRequest: true, KeepConnected: kept})}
			defer newPlugin(t, d, p).stub.Stop()
			_, err := pod.tryCreate(pod.containerConfig(sleeper))
			refused(t, err, codes.FailedPrecondition, "NRI", "10-"+name, "failed to handle", "deadline exceeded")
			slow.Store(false)
			before := len(p.told())
			pod.create(sleeper)
			if asked := slices.Contains(p.told()[before:], "create created"); asked != kept {
				t.Errorf("afterwards the plugin is asked: %v, want %v; it was told %q", asked, kept, p.told())
			}
		})
	}
}
