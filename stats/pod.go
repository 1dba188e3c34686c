package stats

import (
	"cmp"
	"slices"
	"time"

	"tare/cgroup"
	"tare/store"
)

// Pod is a reading of one pod sandbox.
type Pod struct {
	Record     *store.Pod
	Time       time.Time
	Usage      *cgroup.Usage // of all its containers, and of its cgroup if it has one of its own
	OwnCgroup  bool          // Usage is that of the pod's cgroup
	NanoCores  uint64
	Devices    []Device // with Full, of its own cgroup
	Network    []Interface
	Processes  uint64
	Containers []Container // the running ones, oldest first
}

// Pod reads a pod sandbox. What cannot be read is left out.
func (c *Collector) Pod(p *store.Pod, d Depth) Pod {
	c.wanted(d)
	out := Pod{Record: p, Time: time.Now()}
	for _, ctr := range p.ByAge() {
		if ctr.State != store.ContainerRunning {
			continue
		}
		if r := c.container(ctr, d); r.Usage != nil {
			out.Containers = append(out.Containers, r)
			out.NanoCores += r.NanoCores
			out.Processes += c.processes(r)
		}
	}
	c.readParent(&out, d)
	if out.Usage == nil {
		out.Usage = sum(out.Time, out.Containers)
	}
	if p.State == store.PodReady && p.NetNS != "" {
		var err error
		if out.Network, err = interfaces(p.NetNS); err != nil {
			c.unread("pod", string(p.ID), err)
		}
	}
	return out
}

// processes counts a container's processes.
func (c *Collector) processes(r Container) uint64 {
	if r.Usage.Detail != nil {
		return uint64(len(r.Usage.Detail.Processes))
	}
	g, err := c.gauge(r.Record)
	if err != nil {
		return 0
	}
	pids, err := g.meter.Processes()
	if err != nil {
		c.unread("container", string(r.Record.ID), err)
	}
	return uint64(len(pids))
}

// readParent reads the cgroup of the pod, which also counts what containers that have ended used, if
// the pod has one for itself.
func (c *Collector) readParent(out *Pod, d Depth) {
	if !c.ownCgroup(out.Record) {
		return
	}
	g, err := c.parentGauge(out.Record)
	var u *cgroup.Usage
	if err == nil {
		u, err = g.read(d)
	}
	if err != nil {
		c.unread("pod", string(out.Record.ID), err)
		return
	}
	out.Usage, out.OwnCgroup = u, true
	out.NanoCores = cmp.Or(g.rate.next(sample{u.Time, u.CPU.Total}), out.NanoCores)
	if u.Detail != nil {
		for _, io := range u.Detail.Devices {
			out.Devices = append(out.Devices, Device{c.devices.name(io.Major, io.Minor), io})
		}
	}
}

// ownCgroup reports whether the cgroup the pod names is nobody else's: the kubelet makes one for each
// pod, others may name one for several. Earlier sandboxes of the same pod have ended.
func (c *Collector) ownCgroup(p *store.Pod) bool {
	if p.CgroupPath == "" || p.State != store.PodReady {
		return false
	}
	return !slices.ContainsFunc(c.Store.Pods(), func(o *store.Pod) bool {
		return o.ID != p.ID && o.State == store.PodReady && o.CgroupPath == p.CgroupPath
	})
}

// sum adds up what containers use. Limits and pressure have no sum.
func sum(at time.Time, containers []Container) *cgroup.Usage {
	out := &cgroup.Usage{Time: at}
	for _, c := range containers {
		u, m := c.Usage, &out.Memory
		out.CPU.Total += u.CPU.Total
		out.CPU.User += u.CPU.User
		out.CPU.System += u.CPU.System
		out.Threads += u.Threads
		m.Current += u.Memory.Current
		m.InactiveFile += u.Memory.InactiveFile
		m.Anon += u.Memory.Anon
		m.File += u.Memory.File
		m.MappedFile += u.Memory.MappedFile
		m.Swap += u.Memory.Swap
		m.Faults += u.Memory.Faults
		m.MajorFaults += u.Memory.MajorFaults
	}
	return out
}
