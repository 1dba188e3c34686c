package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	nrilog "github.com/containerd/nri/pkg/log"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// plugin is an NRI plugin in this process. It notes what it is told, and answers as a test wants.
type plugin struct {
	t    *testing.T
	stub stub.Stub
	name string // empty: test
	idx  string // its place in the order; empty: 10
	only string // it is about pods of this name, and silent about the others
	more []stub.Option

	create func(c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error)
	update func(c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error)
	before func(event string) error // what happens; an error refuses
	judge  func(*api.ContainerAdjustment) error
	stop   func(*api.PodSandbox)
	beside func(event string) []*api.ContainerUpdate

	mu     sync.Mutex // guards what follows
	events []string
	synced []string
	pod    string // the last that was run
}

// newPlugin connects one to a daemon.
func newPlugin(t *testing.T, d *daemon, p *plugin) *plugin {
	t.Helper()
	nrilog.Set(quiet{})
	p.t = t
	p.name, p.idx = cmp.Or(p.name, "test"), cmp.Or(p.idx, "10")
	var err error
	options := append(p.more, stub.WithPluginName(p.name), stub.WithPluginIdx(p.idx), stub.WithSocketPath(d.path("nri.sock")), stub.WithOnClose(func() {}))
	if p.stub, err = stub.New(p, options...); err != nil {
		t.Fatal(err)
	}
	p.connect(d)
	t.Cleanup(p.stub.Stop)
	return p
}

// connect connects the plugin, for the first time or again.
func (p *plugin) connect(d *daemon) {
	t := p.t
	t.Helper()
	admitted := func() int {
		return strings.Count(d.logFile(), fmt.Sprintf(`plugin \"%s-%s\" connected and synchronized`, p.idx, p.name))
	}
	before := admitted()
	p.mu.Lock()
	p.synced = nil
	p.mu.Unlock()
	await(t, "the plugin is registered", func() error { return p.stub.Start(t.Context()) })
	await(t, "the plugin is synchronized", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.synced == nil {
			return errors.New("it is not")
		}
		return nil
	})
	// The daemon counts it right after that.
	await(t, "the plugin is admitted", func() error {
		if admitted() == before {
			return errors.New("not yet")
		}
		return nil
	})
}

// quiet is the library's log, of the plugin's side.
type quiet struct{}

func (quiet) Debugf(context.Context, string, ...any) {}
func (quiet) Infof(context.Context, string, ...any)  {}
func (quiet) Warnf(context.Context, string, ...any)  {}
func (quiet) Errorf(context.Context, string, ...any) {}

// tell notes an event.
func (p *plugin) tell(event string, pod *api.PodSandbox, c *api.Container) error {
	if p.only != "" && pod.GetName() != p.only {
		return nil
	}
	p.mu.Lock()
	if c != nil {
		event += " " + strings.ToLower(strings.TrimPrefix(c.State.String(), "CONTAINER_"))
	}
	p.events = append(p.events, event)
	p.mu.Unlock()
	if p.before != nil {
		return p.before(event)
	}
	return nil
}

func (p *plugin) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.synced = []string{}
	for _, pod := range pods {
		p.synced = append(p.synced, "pod "+pod.Id)
	}
	for _, c := range containers {
		p.synced = append(p.synced, "container "+c.Id)
	}
	return p.others("sync"), nil
}

// others are changes of other containers because of an event.
func (p *plugin) others(event string) []*api.ContainerUpdate {
	if p.beside == nil {
		return nil
	}
	return p.beside(event)
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.mu.Lock()
	p.pod = pod.Id
	p.mu.Unlock()
	return p.tell("run pod", pod, nil)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, _, _ *api.LinuxResources) error {
	return p.tell("update pod", pod, nil)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.tell("updated pod", pod, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	if p.stop != nil {
		p.stop(pod)
	}
	return p.tell("stop pod", pod, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.tell("remove pod", pod, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if err := p.tell("create", pod, c); err != nil || p.create == nil {
		return nil, nil, err
	}
	return p.create(c)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) error {
	if p.judge == nil || p.only != "" && r.Pod.GetName() != p.only {
		return nil
	}
	return p.judge(r.Adjust)
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.tell("created", pod, c)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.tell("start", pod, c)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.tell("started", pod, c)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	if err := p.tell("update", pod, c); err != nil || p.update == nil {
		return nil, err
	}
	return p.update(c, r)
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.tell("updated", pod, c)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	return p.others("stop"), p.tell("stop", pod, c)
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.tell("remove", pod, c)
}

// TestPluginEvents follows a pod and a container through their lives as a plugin sees them.
func TestPluginEvents(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	old := d.runPod(t)
	running := old.start(sleeper)
	p := newPlugin(t, d, &plugin{})
	if want := []string{"pod " + old.id, "container " + running.id}; !slices.Equal(p.synced, want) {
		t.Errorf("at first the plugin is told of %q, want %q", p.synced, want)
	}
	pod := d.runPod(t)
	c := pod.start(script("trap 'exit 3' TERM; sleep 1000000 & wait"))
	if _, err := d.runtime.UpdateContainerResources(deadline(t), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{CpuShares: 512},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.runtime.UpdatePodSandboxResources(deadline(t), &runtime.UpdatePodSandboxResourcesRequest{
		PodSandboxId: pod.id, Resources: &runtime.LinuxContainerResources{CpuShares: 512},
	}); err != nil {
		t.Fatal(err)
	}
	c.trapped()
	c.stop(10)
	if err := c.tryRemove(); err != nil {
		t.Fatal(err)
	}
	pod.remove()
	want := []string{
		"run pod", "create created", "created created", "start created", "started running", "update running", "updated running",
		"update pod", "updated pod", "stop stopped", "remove stopped", "stop pod", "remove pod",
	}
	if got := p.told(); !slices.Equal(got, want) {
		t.Errorf("events\n%q\nwant\n%q", got, want)
	}
}

// TestPluginAdjustments looks at what a plugin changes from within the container.
func TestPluginAdjustments(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	volume, cdi := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(volume, "file"), "from the plugin\n")
	writeFile(t, filepath.Join(cdi, "x.json"), `{"cdiVersion":"0.6.0","kind":"example.com/x","devices":[{"name":"one","containerEdits":{"env":["OF_DEVICE=1"]}}]}`)
	d.dropIn(t, "cdi.toml", fmt.Sprintf("cdi.spec_dirs = [%q]\n", cdi))
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "the configuration is read", func() error {
		if !strings.Contains(d.logFile(), "starting over with the configuration read again") {
			return errors.New("not yet")
		}
		return nil
	})
	pod := d.runPod(t)
	oom := 555
	newPlugin(t, d, &plugin{create: func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		a := &api.ContainerAdjustment{}
		a.AddEnv("ADDED", "by plugin")
		a.RemoveEnv("REMOVED")
		a.AddMount(&api.Mount{Source: volume, Destination: "/added", Type: "bind", Options: []string{"rbind", "ro"}})
		a.AddDevice(&api.LinuxDevice{Path: "/dev/added", Type: "c", Major: 1, Minor: 5, FileMode: api.FileMode(os.FileMode(0o666))})
		a.AddCDIDevice(&api.CDIDevice{Name: "example.com/x=one"})
		a.AddRlimit("RLIMIT_CORE", 4096, 4096)
		a.AddAnnotation("added", "yes")
		a.SetArgs([]string{"sh", "-c", "echo replaced; exec sleep 1000000"})
		a.SetLinuxCPUShares(333)
		a.SetLinuxMemoryLimit(77 << 20)
		a.SetLinuxMemoryReservation(33 << 20)
		a.SetLinuxPidLimits(55)
		a.SetLinuxOomScoreAdj(&oom)
		return a, nil, nil
	}})
	c := pod.start(sleeper, func(c *runtime.ContainerConfig) {
		c.Envs = []*runtime.KeyValue{{Key: "REMOVED", Value: []byte("x")}, {Key: "KEPT", Value: []byte("y")}}
		c.Linux.Resources.CpuShares = 100
	})
	c.says("replaced")
	got := c.exec(`echo "$ADDED|$REMOVED|$KEPT|$OF_DEVICE"; cat /added/file; touch /added/x 2>&1 | grep -c Read-only; head -c1 /dev/added | wc -c; ulimit -c; cat /proc/1/oom_score_adj`)
	want := "by plugin||y|1\nfrom the plugin\n1\n1\n8\n555\n"
	if got != want {
		t.Errorf("in the container:\n%swant\n%s", got, want)
	}
	s := c.status()
	if r := s.Resources.Linux; r.CpuShares != 333 || r.MemoryLimitInBytes != 77<<20 {
		t.Errorf("resources %v", r)
	}
	for file, want := range map[string]string{
		c.limit("pids", "pids.max", "pids.max"): "55", c.limit("memory", "memory.limit_in_bytes", "memory.max"): fmt.Sprint(77 << 20),
		c.limit("memory", "memory.soft_limit_in_bytes", "memory.low"): fmt.Sprint(33 << 20),
	} {
		if file != want {
			t.Errorf("in the cgroup is %s, want %s", file, want)
		}
	}
	if _, ok := s.Annotations["added"]; ok {
		t.Error("the container's annotations are no longer what was asked for")
	}
}

// TestPluginUpdates has a plugin change limits of a container: another one's than the event is about, at an update, and
// of its own accord; and end one.
func TestPluginUpdates(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	other := d.runPod(t).start(sleeper)
	shares := func(c *ctr) int64 { return c.status().Resources.Linux.CpuShares }
	change := func(id string, n uint64) []*api.ContainerUpdate {
		u := &api.ContainerUpdate{}
		u.SetContainerId(id)
		u.SetLinuxCPUShares(n)
		return []*api.ContainerUpdate{u}
	}
	p := newPlugin(t, d, &plugin{
		create: func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
			return nil, change(other.id, 222), nil
		},
		update: func(c *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
			return change(c.Id, 444), nil
		},
	})
	c := d.runPod(t).start(sleeper)
	if got := shares(other); got != 222 {
		t.Errorf("shares of the other container are %d after a creation, want 222", got)
	}
	if _, err := d.runtime.UpdateContainerResources(deadline(t), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{CpuShares: 100},
	}); err != nil {
		t.Fatal(err)
	}
	if got := shares(c); got != 444 {
		t.Errorf("shares are %d after an update the plugin changed, want 444", got)
	}
	if got := c.limit("cpu", "cpu.shares", "cpu.weight"); !onV2() && got != "444" {
		t.Errorf("in the cgroup shares are %s, want 444", got)
	}
	own := change(c.id, 555)
	own[0].SetLinuxPidLimits(66)
	failed, err := p.stub.UpdateContainers(append(own, change("nobody", 1)...))
	if len(failed) != 1 || failed[0].ContainerId != "nobody" {
		t.Errorf("unsolicited updates: %v, failed %v", err, failed)
	}
	if got := shares(c); got != 555 {
		t.Errorf("shares are %d after an unsolicited update, want 555", got)
	}
	if got := c.limit("pids", "pids.max", "pids.max"); got != "66" {
		t.Errorf("in the cgroup there may be %s processes after an unsolicited update, want 66", got)
	}
}

// TestBadPlugin: a plugin that refuses, takes too long, wants what cannot be or dies, costs one call at most.
func TestBadPlugin(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_request_timeout = \"300ms\"\n"})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	refuse := func(at string) func(string) error {
		return func(event string) error {
			if event == at {
				return errors.New("not on this node")
			}
			return nil
		}
	}
	adjust := func(change func(*api.ContainerAdjustment)) func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		return func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
			a := &api.ContainerAdjustment{}
			change(a)
			return a, nil, nil
		}
	}
	tests := []struct {
		name   string
		plugin *plugin
		call   string // which is refused
		code   codes.Code
		words  []string
	}{
		{"refuses a pod", &plugin{before: refuse("run pod")}, "run", codes.FailedPrecondition, []string{"NRI: plugin 10-test: not on this node"}},
		{"refuses a container", &plugin{before: refuse("create created")}, "create", codes.FailedPrecondition, []string{"NRI: plugin 10-test: not on this node"}},
		{"refuses a start", &plugin{before: refuse("start created")}, "start", codes.FailedPrecondition, []string{"not on this node"}},
		{"judges what plugins adjust", &plugin{
			create: adjust(func(a *api.ContainerAdjustment) { a.AddEnv("A", "b") }),
			judge: func(a *api.ContainerAdjustment) error {
				return fmt.Errorf("no variables on this node, such as %s", a.Env[0].Key)
			},
		}, "create", codes.FailedPrecondition, []string{`NRI: validator "10-test"`, "no variables on this node, such as A"}},
		{"wants another PID namespace", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "pid", Path: "/proc/1/ns/pid"})
		})}, "create", codes.FailedPrecondition, []string{"linux.namespaces", "not supported"}},
		{"wants a namespace that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "network", Path: "/proc/1/ns/ipc"})
		})}, "start", codes.FailedPrecondition, []string{"network namespace", "/proc/1/ns/ipc"}},
		{"wants a sysctl of the host", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("kernel.pid_max", "500") })},
			"create", codes.FailedPrecondition, []string{"sysctl kernel.pid_max", "would change the host"}},
		{"wants a sysctl of another's namespace", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "ipc", Path: "/proc/1/ns/ipc"})
			a.SetLinuxSysctl("kernel.msgmax", "500")
		})}, "create", codes.FailedPrecondition, []string{"sysctl kernel.msgmax", "/proc/1/ns/ipc"}},
		{"wants a sysctl that there is none of", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.core.no_such", "5") })},
			"start", codes.FailedPrecondition, []string{"sysctl", "net/core/no_such"}},
		{"wants a sysctl that takes another value", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.core.somaxconn", "many") })},
			"start", codes.FailedPrecondition, []string{"sysctl", "net/core/somaxconn", "many", "invalid argument"}},
		{"wants memory of what is no node", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "1-0") })},
			"create", codes.FailedPrecondition, []string{"NRI", "memory_policy.nodes", "1-0"}},
		{"wants memory of a node that is not there", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "777") })},
			"start", codes.FailedPrecondition, []string{"memory_policy", "MPOL_BIND 777"}},
		{"wants a network device that is not there", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddLinuxNetDevice("no-such", &api.LinuxNetDevice{Name: "data0"})
		})}, "start", codes.FailedPrecondition, []string{"network device no-such", "data0"}},
		{"wants a network device of a bad name", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddLinuxNetDevice("much-too-long-a-name", &api.LinuxNetDevice{Name: "data0"})
		})}, "create", codes.FailedPrecondition, []string{"much-too-long-a-name"}},
		{"wants a mount from nowhere", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddMount(&api.Mount{Source: "/no/such", Destination: "/x", Type: "bind", Options: []string{"bind"}})
		})}, "create", codes.FailedPrecondition, []string{"/no/such"}},
		{"wants a limit that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.AddRlimit("RLIMIT_NOISE", 1, 1) })},
			"create", codes.FailedPrecondition, []string{"RLIMIT_NOISE"}},
		{"wants a policy Linux has not", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_ISO})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "scheduler.policy", "SCHED_ISO"}},
		{"wants a realtime priority that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_RR, Priority: 100})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "scheduler.priority 100"}},
		{"wants an I/O priority of no class", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxIOPriority(&api.LinuxIOPriority{Priority: 3}) })},
			"create", codes.FailedPrecondition, []string{"NRI", "io_priority.class"}},
		{"wants an I/O priority beyond the last", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxIOPriority(&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: 8})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "io_priority.priority 8"}},
		{"wants a filter with an unknown action", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "seccomp_policy", "defaultAction", "SCMP_ACT_MAYBE"}},
		{"wants a filter that asks somebody", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", ListenerPath: "/run/agent"})
		})}, "create", codes.FailedPrecondition, []string{"seccomp_policy", "listenerPath", "not supported"}},
		{"wants an unknown device", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddCDIDevice(&api.CDIDevice{Name: "example.com/no=thing"})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "example.com/no=thing"}},
		{"does not answer", &plugin{before: func(event string) error {
			if event == "create created" {
				time.Sleep(time.Second)
			}
			return nil
		}}, "", codes.OK, nil},
		{"refuses an end", &plugin{before: refuse("stop stopped")}, "", codes.OK, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.plugin.only = "bad"
			p := newPlugin(t, d, tt.plugin)
			call, err := d.calls(t, podConfig("bad"))
			if call != tt.call {
				t.Fatalf("the call that failed is %q: %v; want %q", call, err, tt.call)
			}
			if tt.call != "" {
				refused(t, err, tt.code, tt.words...)
			}
			p.stub.Stop()
			if call, err := d.calls(t, podConfig("good")); err != nil {
				t.Errorf("after the plugin has gone, %s: %v", call, err)
			}
		})
	}
}

// calls leads a pod through its life, and returns the first call that failed.
func (d *daemon) calls(t *testing.T, config *runtime.PodSandboxConfig) (failed string, err error) {
	t.Helper()
	run, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "run", err
	}
	defer func() {
		if _, removeErr := d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId}); removeErr != nil {
			t.Errorf("remove pod: %v", removeErr)
		}
	}()
	p := &pod{d, t, run.PodSandboxId, config}
	id, err := p.tryCreate(p.containerConfig(sleeper))
	if err != nil {
		return "create", err
	}
	if _, err := d.runtime.StartContainer(deadline(t), &runtime.StartContainerRequest{ContainerId: id}); err != nil {
		return "start", err
	}
	if _, err := d.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: id}); err != nil {
		return "stop", err
	}
	return "", nil
}
