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

	"github.com/containerd/nri/pkg/api"
	nrilog "github.com/containerd/nri/pkg/log"
	"github.com/containerd/nri/pkg/stub"
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
