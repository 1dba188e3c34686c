package stats

import (
	"context"
	"time"

	"tare/spec"
	"tare/store"
)

// What the background work may cost. A pass begins when somebody asks for readings, at most every passEvery;
// a container is measured again after refreshEvery, or a hundred times as long as it took; and after
// each measurement the goroutine rests nineteen times as long.
const (
	passEvery    = time.Second
	refreshEvery = 10 * time.Second
	costFactor   = 100
	restFactor   = 19

	filesWanted = time.Minute // how long sockets are counted after metrics were asked for
)

// measured is what was counted of one container in the background.
type measured struct {
	layer   spec.FilesystemUsage
	sockets Count
	due     time.Time // of the next measurement
}

// wanted notes that somebody asks for readings, and has old measurements renewed.
func (c *Collector) wanted(d Depth) {
	if d == Full {
		now := time.Now()
		c.wantFiles.Store(&now)
	}
	select {
	case c.kick <- struct{}{}:
	default: // already asked for
	}
}

// refresh measures what is due, each time it is asked to. Ends with ctx.
func (c *Collector) refresh(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		}
		c.pass(ctx)
		if !rest(ctx, passEvery) {
			return
		}
	}
}

func (c *Collector) pass(ctx context.Context) {
	var owed time.Duration
	for _, ctr := range c.Store.Containers() {
		if !c.due(ctr.ID) {
			continue
		}
		start := time.Now()
		c.measure(ctx, ctr)
		owed += restFactor * time.Since(start)
		if owed < time.Millisecond {
			continue
		}
		if !rest(ctx, owed) {
			return
		}
		owed = 0
	}
}

// rest waits, and returns false if ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (c *Collector) due(id spec.ContainerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.measured[id]
	return m == nil || time.Now().After(m.due)
}

// measure counts what a container's layer holds and, while metrics are asked for, its open sockets.
func (c *Collector) measure(ctx context.Context, ctr *store.Container) {
	start := time.Now()
	m := &measured{layer: spec.FilesystemUsage{Time: start, Mountpoint: c.mountpoint}}
	var err error
	m.layer.Bytes, m.layer.Inodes, err = diskUsage(ctx, c.layerDir(ctr.ID))
	if err != nil {
		c.unread("container", string(ctr.ID), err)
		m.layer = c.layer(ctr)
	}
	if asked := c.wantFiles.Load(); ctr.State == store.ContainerRunning && asked != nil && time.Since(*asked) < filesWanted {
		m.sockets = c.countSockets(ctr)
	}
	m.due = time.Now().Add(max(refreshEvery, costFactor*time.Since(start)))
	c.mu.Lock()
	c.measured[ctr.ID] = m
	c.mu.Unlock()
	if _, _, gone := c.Store.Container(ctr.ID); gone != nil {
		c.drop(ctr.ID, true)
	}
}

func (c *Collector) countSockets(ctr *store.Container) Count {
	g, err := c.gauge(ctr)
	if err != nil {
		return Count{}
	}
	pids, err := g.meter.Processes()
	if err != nil {
		c.unread("container", string(ctr.ID), err)
		return Count{}
	}
	out := Count{Time: time.Now()}
	for _, pid := range pids {
		out.N += openSockets(pid)
	}
	return out
}

// layer is what a container's layer held when it was last measured. Until then it is as it was made: empty.
func (c *Collector) layer(ctr *store.Container) spec.FilesystemUsage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.measured[ctr.ID]; m != nil {
		return m.layer
	}
	return spec.FilesystemUsage{Time: ctr.CreatedAt, Mountpoint: c.mountpoint}
}

func (c *Collector) sockets(id spec.ContainerID) Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.measured[id]; m != nil {
		return m.sockets
	}
	return Count{}
}

// Layers is what all writable layers take.
func (c *Collector) Layers() spec.FilesystemUsage {
	c.wanted(Basic)
	out := spec.FilesystemUsage{Time: time.Now(), Mountpoint: c.mountpoint}
	for _, ctr := range c.Store.Containers() {
		l := c.layer(ctr)
		out.Bytes += l.Bytes
		out.Inodes += l.Inodes
	}
	return out
}
