package pod

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c *ctr) stats() *runtime.ContainerStats {
	c.t.Helper()
	resp, err := c.runtime.ContainerStats(deadline(c.t), &runtime.ContainerStatsRequest{ContainerId: c.id})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Stats
}

func (p *pod) stats() *runtime.PodSandboxStats {
	p.t.Helper()
	resp, err := p.runtime.PodSandboxStats(deadline(p.t), &runtime.PodSandboxStatsRequest{PodSandboxId: p.id})
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.Stats
}

// cpuTime is what a process has used, proc_pid_stat(5): utime and stime, in ticks of 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

func within(got, want, tolerance uint64) bool { return got+tolerance >= want && got <= want+tolerance }

func TestStatsProcessor(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(script("while :; do :; done"))
	first := c.stats()
	await(t, "container uses the processor", func() error {
		if used := cpuTime(t, c.pid()); used < 300*time.Millisecond {
			return fmt.Errorf("%s", used)
		}
		return nil
	})
	time.Sleep(1100 * time.Millisecond) // the window of a rate
	before := cpuTime(t, c.pid())
	second := c.stats()
	after := cpuTime(t, c.pid())
	used := time.Duration(second.Cpu.UsageCoreNanoSeconds.Value)
	if used < before-50*time.Millisecond || used > after+50*time.Millisecond {
		t.Errorf("used %s, /proc says %s to %s", used, before, after)
	}
	wall := time.Duration(second.Cpu.Timestamp - first.Cpu.Timestamp)
	rate := float64(second.Cpu.UsageCoreNanoSeconds.Value-first.Cpu.UsageCoreNanoSeconds.Value) / wall.Seconds()
	if got := float64(second.Cpu.UsageNanoCores.Value); got < 0.5*rate || got > 1.5*rate+1e6 || got > 1.2e9 {
		t.Errorf("%g nano cores, the two readings make %g", got, rate)
	}
}

func TestStatsMemory(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	const limit = 256 << 20
	c := p.start(script("x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo filled; trap 'exit 0' TERM; sleep 1000000 & wait"),
		func(c *runtime.ContainerConfig) { c.Linux.Resources.MemoryLimitInBytes = limit })
	c.says("filled")
	rss, err := strconv.ParseUint(strings.Fields(procStatus(c.pid())["VmRSS"])[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	rss *= 1024
	// v1's memory.stat may be two seconds old.
	await(t, "memory is seen", func() error {
		m := c.stats().Memory
		const slack = 16 << 20 // code shared with others, kernel memory, charges in batches
		switch {
		case !within(m.UsageBytes.Value, rss, slack), !within(m.WorkingSetBytes.Value, rss, slack), !within(m.RssBytes.Value, rss, slack):
			return fmt.Errorf("%v, /proc says %d resident", m, rss)
		case m.AvailableBytes.GetValue()+m.WorkingSetBytes.Value != limit:
			return fmt.Errorf("%v, the limit is %d", m, uint64(limit))
		case m.PageFaults.Value < 1000:
			return fmt.Errorf("%d page faults", m.PageFaults.Value)
		}
		return nil
	})
}

func TestStatsLayer(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper)
	c.exec("dd if=/dev/zero of=/big bs=1M count=5 2>&1; ln /big /same; mkdir /d; touch /d/a /d/b; ln -s /nowhere /d/c; sync")
	await(t, "writable layer is measured", func() error {
		w := c.stats().WritableLayer
		// Beside /big (once), /d and what is in it: the layer's own directories, and /sys, /proc… made in it.
		if !within(w.UsedBytes.Value, 5<<20, 256<<10) || w.InodesUsed.Value < 5 || w.InodesUsed.Value > 25 {
			return fmt.Errorf("%v", w)
		}
		if time.Since(time.Unix(0, w.Timestamp)) > time.Minute || w.FsId.GetMountpoint() == "" {
			return fmt.Errorf("time or mount point: %v", w)
		}
		return nil
	})
	info, err := p.images.ImageFsInfo(deadline(t), &runtime.ImageFsInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(info.ImageFilesystems) != 1 || len(info.ContainerFilesystems) != 1 {
		t.Fatalf("%v", info)
	}
	images, layers := info.ImageFilesystems[0], info.ContainerFilesystems[0]
	if images.Timestamp <= 0 || layers.Timestamp <= 0 || layers.UsedBytes.Value < 5<<20 || images.UsedBytes.Value == 0 {
		t.Errorf("%v", info)
	}
	if images.FsId.Mountpoint != layers.FsId.Mountpoint {
		t.Errorf("mount points %q and %q of one filesystem", images.FsId.Mountpoint, layers.FsId.Mountpoint)
	}
}

func TestStatsNetwork(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper)
	interfaces := func() map[string]*runtime.NetworkInterfaceUsage {
		n := p.stats().Linux.Network
		if n.GetTimestamp() <= 0 || n.GetDefaultInterface().GetName() != "eth0" {
			t.Fatalf("%v", n)
		}
		out := map[string]*runtime.NetworkInterfaceUsage{"eth0": n.DefaultInterface}
		for _, i := range n.Interfaces {
			out[i.Name] = i
		}
		if out["lo"] == nil {
			t.Fatalf("no loopback in %v", n)
		}
		return out
	}
	before := interfaces()
	const size, count = 1000, 50
	c.exec(fmt.Sprintf("ping -c %d -i 0.001 -s %d %s >/dev/null || ping -c %[1]d -s %[2]d %[3]s >/dev/null", 5, size, p.ip()))
	conn, err := net.Dial("udp", net.JoinHostPort(p.ip(), "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range count {
		conn.Write(make([]byte, size)) // refused by nobody listening: that comes back as an error
	}
	await(t, "traffic is counted", func() error {
		after := interfaces()
		if lo := after["lo"].RxBytes.Value - before["lo"].RxBytes.Value; lo < 5*size {
			return fmt.Errorf("loopback carried %d bytes", lo)
		}
		if rx := after["eth0"].RxBytes.Value - before["eth0"].RxBytes.Value; rx < size*count/2 {
			return fmt.Errorf("eth0 received %d bytes", rx)
		}
		return nil
	})
	host := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }))
	if n := host.stats().Linux.Network; n != nil {
		t.Errorf("a pod in the host's network has %v of its own", n)
	}
}

// inCgroup gives a pod a cgroup of its own, as the kubelet does.
func inCgroup(parent string) podOption {
	return func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = parent }
}

func TestStatsPod(t *testing.T) {
	leavesNothing(t, suite.shared)
	for name, options := range map[string][]podOption{"shared cgroup": nil, "own cgroup": {inCgroup(cgroupParent("statspod"))}} {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, options...)
			busy, idle := p.start(script("sleep 1000000 & while :; do :; done")), p.start(sleeper)
			p.create(sleeper) // not running: in no stats
			await(t, "pod uses the processor", func() error {
				if used := p.stats().Linux.Cpu.UsageCoreNanoSeconds.Value; used < 2e8 {
					return fmt.Errorf("%d ns", used)
				}
				return nil
			})
			s := p.stats()
			l := s.Linux
			if s.Attributes.Id != p.id || s.Attributes.Metadata.Name != "pod" || len(l.Containers) != 2 {
				t.Fatalf("%v", s)
			}
			if l.Containers[0].Attributes.Id != busy.id || l.Containers[1].Attributes.Id != idle.id {
				t.Errorf("containers are not the oldest first")
			}
			var sum uint64
			for _, c := range l.Containers {
				sum += c.Cpu.UsageCoreNanoSeconds.Value
			}
			// The pod is read after them, and one of them is busy.
			since := uint64(l.Cpu.Timestamp - l.Containers[0].Cpu.Timestamp)
			if used := l.Cpu.UsageCoreNanoSeconds.Value; used+1e8 < sum || used > sum+since+1e8 {
				t.Errorf("pod used %d ns, its containers %d, %d ns before", used, sum, since)
			}
			if n := l.Process.ProcessCount.Value; n != 4 {
				t.Errorf("%d processes, want 4", n)
			}
			for what, at := range map[string]int64{"cpu": l.Cpu.Timestamp, "memory": l.Memory.Timestamp, "network": l.Network.Timestamp,
				"process": l.Process.Timestamp, "io": l.Io.GetTimestamp()} {
				if at <= 0 {
					t.Errorf("timestamp of %s is %d", what, at)
				}
			}
		})
	}
}

func TestStatsOfWhatDoesNotRun(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	created := p.create(sleeper)
	exited := p.start(script("exit 0"))
	exited.finish()
	for name, c := range map[string]*ctr{"created": created, "exited": exited} {
		s := c.stats()
		if s.Cpu != nil || s.Memory != nil || s.WritableLayer.GetTimestamp() <= 0 || s.Attributes.Id != c.id {
			t.Errorf("%s: %v", name, s)
		}
	}
	list, err := p.runtime.ListContainerStats(deadline(t), &runtime.ListContainerStatsRequest{Filter: &runtime.ContainerStatsFilter{PodSandboxId: p.id}})
	if err != nil || len(list.Stats) != 0 {
		t.Errorf("%v, %v, want none", list, err)
	}
	_, err = p.runtime.ContainerStats(deadline(t), &runtime.ContainerStatsRequest{ContainerId: "nothing"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("no such container: %v", err)
	}
	_, err = p.runtime.PodSandboxStats(deadline(t), &runtime.PodSandboxStatsRequest{PodSandboxId: "nothing"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("no such pod: %v", err)
	}
}
