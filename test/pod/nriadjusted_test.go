package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPluginRemoves: what the request asks for and a plugin removes is not in the container; the rest of its kind is.
func TestPluginRemoves(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	newPlugin(t, d, adjusting("removing", "10", func(a *api.ContainerAdjustment) {
		a.RemoveDevice("/dev/removed")
		a.RemoveMount("/removed")
	}))
	dir := t.TempDir()
	hostNode(t, filepath.Join(dir, "kept"), unix.S_IFBLK|0o640, 7, 1)
	hostNode(t, filepath.Join(dir, "removed"), unix.S_IFCHR|0o640, 1, 11) // /dev/kmsg
	c := d.runPod(t).start(sleeper, func(c *runtime.ContainerConfig) {
		for _, name := range []string{"kept", "removed"} {
			c.Devices = append(c.Devices, &runtime.Device{HostPath: filepath.Join(dir, name), ContainerPath: "/dev/" + name, Permissions: "rm"})
			c.Mounts = append(c.Mounts, &runtime.Mount{HostPath: dir, ContainerPath: "/" + name})
		}
	})
	// Nor can it be made again, if it could be at all.
	for command, want := range map[string]string{
		"ls -d /dev/kept /dev/removed /kept /removed 2>/dev/null; true": "/dev/kept\n/kept\n",
		tryDevice("/dev/kept"): "r\n",
		"mknod /again c 1 11; (exec </again) 2>&1 | grep -c 'not permitted'": "1\n",
	} {
		if got := c.exec(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

// TestPluginLowersOOMScore: what a plugin sets is what there is afterwards, zero too: a later change begins there.
func TestPluginLowersOOMScore(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	newPlugin(t, d, adjusting("lowering", "10", func(a *api.ContainerAdjustment) { a.SetLinuxOomScoreAdj(new(0)) }))
	c := d.runPod(t).start(sleeper, resources(&runtime.LinuxContainerResources{OomScoreAdj: 500}))
	if got := c.exec("cat /proc/1/oom_score_adj"); got != "0\n" {
		t.Errorf("oom_score_adj is %s", got)
	}
	if got := c.status().Resources.Linux.OomScoreAdj; got != 0 {
		t.Errorf("status says %d", got)
	}
	if err := c.update(&runtime.LinuxContainerResources{OomScoreAdj: 700}); err != nil {
		t.Fatal(err)
	}
	if got := c.exec("cat /proc/1/oom_score_adj"); got != "700\n" {
		t.Errorf("after an update, oom_score_adj is %s", got)
	}
}

// TestPluginRaisesMemory: the limit of memory and swap together, which kubelets set to that of memory, follows it.
func TestPluginRaisesMemory(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	newPlugin(t, d, adjusting("raising", "10", func(a *api.ContainerAdjustment) { a.SetLinuxMemoryLimit(200 << 20) }))
	c := d.runPod(t).start(sleeper, resources(&runtime.LinuxContainerResources{MemoryLimitInBytes: 100 << 20, MemorySwapLimitInBytes: 110 << 20}))
	if r := c.status().Resources.Linux; r.MemoryLimitInBytes != 200<<20 || r.MemorySwapLimitInBytes != 210<<20 {
		t.Errorf("limits %v", r)
	}
}

// TestPluginAddsDeviceAgain: a CDI device that was asked for already is there once.
func TestPluginAddsDeviceAgain(t *testing.T) {
	d, fixed, _ := cdiDaemon(t)
	out := filepath.Join(t.TempDir(), "out")
	device := hookedDevice(t, fixed, "again", map[string]string{"createRuntime": "echo ran >> " + out})
	newPlugin(t, d, adjusting("adding", "10", func(a *api.ContainerAdjustment) { a.AddCDIDevice(&api.CDIDevice{Name: "hook.test/again=x"}) }))
	pod := d.runPod(t)
	for name, options := range map[string][]option{"asked for": {sleeper, device}, "not asked for": {sleeper}} {
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		pod.start(options...)
		if got, err := os.ReadFile(out); err != nil || string(got) != "ran\n" {
			t.Errorf("%s: the device's hook says %q, %v", name, got, err)
		}
	}
}

// TestPluginLimits: a plugin may set each of the kernel's resource limits.
func TestPluginLimits(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	limits := map[string]uint64{ // none above what this process may have, getrlimit(2)
		"AS": 1<<40 + 1, "CORE": 1002, "CPU": 1003, "DATA": 1<<40 + 4, "FSIZE": 1005, "LOCKS": 1006, "MEMLOCK": 8192, "MSGQUEUE": 1008,
		"NICE": 0, "NOFILE": 1010, "NPROC": 1011, "RSS": 1012, "RTPRIO": 0, "RTTIME": 1014, "SIGPENDING": 1015, "STACK": 1<<30 + 16,
	}
	newPlugin(t, d, adjusting("limiting", "10", func(a *api.ContainerAdjustment) {
		for name, n := range limits {
			a.AddRlimit("RLIMIT_"+name, n, n)
		}
	}))
	pod := d.runPod(t)
	got := strings.Join(strings.Fields(pod.start(sleeper).exec("cat /proc/1/limits")), " ")
	for name, title := range map[string]string{
		"AS": "address space", "CORE": "core file size", "CPU": "cpu time", "DATA": "data size", "FSIZE": "file size", "LOCKS": "file locks",
		"MEMLOCK": "locked memory", "MSGQUEUE": "msgqueue size", "NICE": "nice priority", "NOFILE": "open files", "NPROC": "processes",
		"RSS": "resident set", "RTPRIO": "realtime priority", "RTTIME": "realtime timeout", "SIGPENDING": "pending signals", "STACK": "stack size",
	} {
		if want := fmt.Sprintf("Max %s %d %[2]d", title, limits[name]); !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

// TestPluginNonsense: what cannot be is refused when the container is created, as the plugin's doing; and the plugin,
// which was told of the container, is told that it is gone.
func TestPluginNonsense(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	leavesNothing(t, d)
	mount := func(source, destination string, options ...string) func(*api.ContainerAdjustment) {
		return func(a *api.ContainerAdjustment) {
			a.AddMount(&api.Mount{Source: source, Destination: destination, Type: "bind", Options: append(options, "bind")})
		}
	}
	device := func(path, kind string, minor int64) func(*api.ContainerAdjustment) {
		return func(a *api.ContainerAdjustment) {
			a.AddDevice(&api.LinuxDevice{Path: path, Type: kind, Major: 1, Minor: minor})
		}
	}
	for name, tt := range map[string]struct {
		change func(*api.ContainerAdjustment)
		words  []string
	}{
		"mount over proc":       {mount("/tmp", "/proc/x"), []string{"mount /proc/x", "below /proc"}},
		"mount at no path":      {mount("/tmp", "/x\x00y"), []string{"mount /x", "NUL"}},
		"mount of no path":      {mount("/tmp\x00y", "/x"), []string{"mount /x", "/tmp"}},
		"unknown mount option":  {mount("/tmp", "/x", "relabel"), []string{"mount /x", "relabel"}},
		"hook of no path":       {func(a *api.ContainerAdjustment) { a.AddHooks(&api.Hooks{Prestart: []*api.Hook{{Path: "x"}}}) }, []string{`hook "x"`, "absolute"}},
		"device of no type":     {device("/dev/q", "z", 3), []string{"device node /dev/q", `type "z"`}},
		"another device's node": {device("/dev/null", "c", 11), []string{"/dev/null", "1:11"}},
		"variable of no name":   {func(a *api.ContainerAdjustment) { a.AddEnv("", "x") }, []string{`variable ""`}},
		"variable of two names": {func(a *api.ContainerAdjustment) { a.AddEnv("A=B", "x") }, []string{`variable "A=B"`}},
		"variable of no value":  {func(a *api.ContainerAdjustment) { a.AddEnv("A", "x\x00y") }, []string{`variable "A"`, "NUL"}},
		"no argument":           {func(a *api.ContainerAdjustment) { a.SetArgs([]string{"sh", "x\x00y"}) }, []string{"argument", "NUL"}},
		"memory below nothing":  {func(a *api.ContainerAdjustment) { a.SetLinuxMemoryLimit(-7) }, []string{"-7"}},
		"shares beyond numbers": {func(a *api.ContainerAdjustment) { a.SetLinuxCPUShares(1<<63 + 5) }, []string{"cpu.shares", fmt.Sprint(uint64(1<<63 + 5))}},
		"CDI device of no name": {func(a *api.ContainerAdjustment) { a.AddCDIDevice(&api.CDIDevice{Name: "nonsense"}) }, []string{"CDI device nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugin(t, d, adjusting("nonsense", "10", tt.change))
			defer p.stub.Stop()
			_, err := pod.tryCreate(pod.containerConfig(sleeper))
			refused(t, err, codes.FailedPrecondition, append(tt.words, "NRI: ")...)
			if err != nil && strings.Contains(err.Error(), "CDI devices") {
				t.Errorf("the request has no CDI devices: %v", err)
			}
			if got, want := p.told(), []string{"create created", "remove created"}; !slices.Equal(got, want) {
				t.Errorf("events %q, want %q", got, want)
			}
		})
	}
}

// TestPluginUpdateItCanDoWithout: a change of the limits being changed that cannot be, and need not, leaves what was asked for.
func TestPluginUpdateItCanDoWithout(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	c := d.runPod(t).start(sleeper)
	dispensable := false
	newPlugin(t, d, &plugin{update: func(c *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
		u := &api.ContainerUpdate{ContainerId: c.Id, IgnoreFailure: dispensable}
		u.SetLinuxCPUShares(444)
		u.SetLinuxMemorySwappiness(5)
		return []*api.ContainerUpdate{u}, nil
	}})
	err := c.update(&runtime.LinuxContainerResources{CpuShares: 100})
	refused(t, err, codes.FailedPrecondition, "NRI", "memory.swappiness", "not supported")
	dispensable = true
	if err := c.update(&runtime.LinuxContainerResources{CpuShares: 100}); err != nil {
		t.Fatal(err)
	}
	if got := c.status().Resources.Linux.CpuShares; got != 100 {
		t.Errorf("shares are %d, want 100", got)
	}
}

// TestPluginSeesImage: the image's digests are digests (api.proto of the library).
func TestPluginSeesImage(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	var saw *api.Image
	newPlugin(t, d, &plugin{create: func(c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		saw = c.Image
		return nil, nil, nil
	}})
	s := d.runPod(t).start(sleeper).status()
	if saw.GetName() != busybox || !strings.HasSuffix(s.ImageRef, "@"+saw.GetDigest()) || saw.GetConfigDigest() != s.ImageId {
		t.Errorf("the plugin saw %v; status has %s, %s", saw, s.ImageRef, s.ImageId)
	}
}

// TestPluginRefusesPodUpdate: other resources of a pod that a plugin refuses are not on record; that it fails when they are
// changes nothing.
func TestPluginRefusesPodUpdate(t *testing.T) {
	d := ownDaemon(t, options{})
	refuses := ""
	newPlugin(t, d, &plugin{before: func(event string) error {
		if event == refuses {
			return errors.New("not on this node")
		}
		return nil
	}})
	p := d.runPod(t, func(c *runtime.PodSandboxConfig) {
		c.Linux.Overhead, c.Linux.Resources = &runtime.LinuxContainerResources{CpuShares: 11}, &runtime.LinuxContainerResources{CpuShares: 100}
	})
	update := func(shares int64) error {
		_, err := d.runtime.UpdatePodSandboxResources(deadline(t), &runtime.UpdatePodSandboxResourcesRequest{
			PodSandboxId: p.id, Resources: &runtime.LinuxContainerResources{CpuShares: shares},
		})
		return err
	}
	has := func(want int64) {
		t.Helper()
		resp, err := d.runtime.PodSandboxStatus(deadline(t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		var info struct{ Overhead, Resources *runtime.ContainerResources }
		if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil {
			t.Fatal(err)
		}
		if got := info.Resources.GetLinux().GetCpuShares(); got != want || info.Overhead.GetLinux().GetCpuShares() != 11 {
			t.Errorf("the pod has %d shares, want %d; %v", got, want, info.Overhead)
		}
	}
	refuses = "update pod"
	refused(t, update(200), codes.FailedPrecondition, "NRI: plugin 10-test: not on this node")
	has(100)
	refuses = "updated pod"
	if err := update(300); err != nil {
		t.Error(err)
	}
	has(300)
}

// TestPluginAtStop: when a plugin hears that a pod is stopped, its containers have ended, and its network is there: what the plugin
// has put into it can be taken out.
func TestPluginAtStop(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	type seen struct {
		net, address string
		state        runtime.ContainerState
	}
	saw := make(chan seen, 1)
	var c *ctr
	newPlugin(t, d, &plugin{stop: func(pod *api.PodSandbox) {
		var s seen
		for _, ns := range pod.Linux.Namespaces {
			var at unix.Stat_t
			if ns.Type == "network" && unix.Stat(ns.Path, &at) == nil {
				s.net = fmt.Sprintf("net:[%d]", at.Ino)
			}
		}
		s.address = strings.Join(pod.Ips, " ")
		if resp, err := d.runtime.ContainerStatus(deadline(t), &runtime.ContainerStatusRequest{ContainerId: c.id}); err == nil {
			s.state = resp.Status.State
		}
		saw <- s
	}})
	p := d.runPod(t)
	c = p.start(sleeper)
	want := seen{namespaces(t, c.pid())["net"], p.status().Network.Ip, runtime.ContainerState_CONTAINER_EXITED}
	p.remove()
	if got := <-saw; got != want {
		t.Errorf("at the stop there is %v, want %v", got, want)
	}
}

// TestPluginUpdatesBeside: a plugin changes another container when it connects and when one is created, changed or ends; where
// that cannot be and has to, the call fails, and a container that was created for it is gone.
func TestPluginUpdatesBeside(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	other, c := pod.start(sleeper), pod.start(sleeper)
	change := func(id string, shares uint64, ignore bool) []*api.ContainerUpdate {
		u := &api.ContainerUpdate{ContainerId: id, IgnoreFailure: ignore}
		u.SetLinuxCPUShares(shares)
		u.SetLinuxPidLimits(int64(shares))
		return []*api.ContainerUpdate{u}
	}
	var created []*api.ContainerUpdate
	shares := map[string]uint64{"sync": 201, "stop": 204}
	newPlugin(t, d, &plugin{
		beside: func(event string) []*api.ContainerUpdate { return change(other.id, shares[event], false) },
		create: func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
			return nil, created, nil
		},
		update: func(*api.Container, *api.LinuxResources) ([]*api.ContainerUpdate, error) {
			return change(other.id, 203, false), nil
		},
	})
	has := func(want int64) {
		t.Helper()
		await(t, "the other container is changed", func() error {
			shares, pids := other.status().Resources.Linux.CpuShares, other.limit("pids", "pids.max", "pids.max")
			if shares != want || pids != fmt.Sprint(want) {
				return fmt.Errorf("it has %d shares and %s processes, want %d", shares, pids, want)
			}
			return nil
		})
	}
	has(201)
	created = change(other.id, 202, false)
	pod.create(sleeper)
	has(202)
	if err := c.update(&runtime.LinuxContainerResources{CpuShares: 100}); err != nil {
		t.Fatal(err)
	}
	if got := c.status().Resources.Linux.CpuShares; got != 100 {
		t.Errorf("the container itself has %d shares", got)
	}
	has(203)
	c.stop(0)
	has(204)
	created = change("nobody", 5, true)
	pod.create(sleeper)
	created = change("nobody", 5, false)
	before := len(pod.containers())
	_, err := pod.tryCreate(pod.containerConfig(sleeper))
	refused(t, err, codes.NotFound, "NRI: update of container nobody")
	if after := len(pod.containers()); after != before {
		t.Errorf("there are %d containers, want %d", after, before)
	}
}

// containers are those of the pod.
func (p *pod) containers() []*runtime.Container {
	resp, err := p.runtime.ListContainers(deadline(p.t), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{PodSandboxId: p.id}})
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.Containers
}
