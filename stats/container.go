package stats

import (
	"log/slog"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/spec"
	"tare/store"
)

// Depth says how much a reading reads.
type Depth int

// The depths.
const (
	Basic Depth = iota // what CRI's stats show
	Full               // what only metrics show, too
)

// Container is a reading of one container.
type Container struct {
	Record    *store.Container
	Usage     *cgroup.Usage        // nil unless it runs
	NanoCores uint64               // processor time used each second, in ns
	Layer     spec.FilesystemUsage // as last measured; of the time it was made until then

	// The rest is of Full readings of a running container.
	Devices     []Device
	Descriptors uint64 // open files of its processes, each counted where it is open
	Sockets     Count
	OpenFiles   uint64 // soft limit of its first process, RLIMIT_NOFILE
}

// Count is something counted in the background.
type Count struct {
	Time time.Time // zero: not yet
	N    uint64
}

// Device is I/O on one block device.
type Device struct {
	Name string // below /dev
	cgroup.DeviceIO
}

// Container reads a container. What cannot be read, as of one that has just ended, is left out.
func (c *Collector) Container(ctr *store.Container, d Depth) Container {
	c.wanted(d)
	return c.container(ctr, d)
}

func (c *Collector) container(ctr *store.Container, d Depth) Container {
	out := Container{Record: ctr, Layer: c.layer(ctr)}
	if ctr.State != store.ContainerRunning {
		return out
	}
	g, err := c.gauge(ctr)
	if err == nil {
		out.Usage, err = g.read(d)
	}
	if _, now, gone := c.Store.Container(ctr.ID); gone != nil || now.State != store.ContainerRunning {
		c.drop(ctr.ID, gone != nil) // it ended meanwhile, and watch may have come before us
	}
	if err != nil {
		c.unread("container", string(ctr.ID), err)
		return out
	}
	out.NanoCores = g.rate.next(sample{out.Usage.Time, out.Usage.CPU.Total})
	if d == Full {
		c.detail(&out)
	}
	return out
}

func (g *gauge) read(d Depth) (*cgroup.Usage, error) {
	if d == Full {
		return g.meter.ReadAll()
	}
	return g.meter.Read()
}

// fewDescriptors are so few open files that looking at each for a socket costs a reading less than half a
// millisecond; those of busier containers are looked at in the background.
const fewDescriptors = 256

// detail reads what only metrics show.
func (c *Collector) detail(out *Container) {
	for _, io := range out.Usage.Detail.Devices {
		out.Devices = append(out.Devices, Device{c.devices.name(io.Major, io.Minor), io})
	}
	for _, pid := range out.Usage.Detail.Processes {
		out.Descriptors += descriptors(pid)
	}
	out.Sockets = c.sockets(out.Record.ID)
	if out.Descriptors <= fewDescriptors {
		out.Sockets = Count{Time: time.Now()}
		for _, pid := range out.Usage.Detail.Processes {
			out.Sockets.N += openSockets(pid)
		}
	}
	var limit unix.Rlimit
	if unix.Prlimit(out.Record.Pid, unix.RLIMIT_NOFILE, nil, &limit) == nil {
		out.OpenFiles = limit.Cur
	}
}

// unread tells of a reading that failed; that something has ended is no failure.
func (c *Collector) unread(kind, id string, err error) {
	if !errdefs.IsNotFound(err) {
		c.Log.Warn("read usage", slog.String(kind, id), slog.Any("err", err))
	}
}
