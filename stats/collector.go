package stats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tare/cgroup"
	"tare/event"
	"tare/spec"
	"tare/store"
)

// Options say where things are.
type Options struct {
	Layers string // directory of the writable layers: one directory each, named by the container's id
	Images string // directory of the image store, to tell whether both are on one filesystem
}

// Deps are the parts a Collector works with. All are required.
type Deps struct {
	Store   *store.Store
	Cgroups *cgroup.Tree
	Log     *slog.Logger
}

// Collector reads usage.
type Collector struct {
	Deps
	layers     string
	mountpoint string // by which the filesystem of the layers is known
	devices    deviceNames

	mu       sync.Mutex // guards the tables
	meters   map[spec.ContainerID]*gauge
	parents  map[string]*gauge // by cgroup parent
	measured map[spec.ContainerID]*measured

	kick      chan struct{}
	wantFiles atomic.Pointer[time.Time] // when open sockets were last asked for; nil: never
	end       context.CancelFunc
	wg        sync.WaitGroup
}

// gauge is what is kept of one cgroup: open files, and samples for a rate.
type gauge struct {
	meter *cgroup.Meter
	rate  rate
}

// New returns a collector, whose background work ends with ctx. The caller closes it.
func New(ctx context.Context, o Options, d Deps) (*Collector, error) {
	mountpoint, err := filesystemName(o)
	if err != nil {
		return nil, fmt.Errorf("find the filesystem of writable layers: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Collector{
		Deps: d, layers: o.Layers, mountpoint: mountpoint,
		meters: map[spec.ContainerID]*gauge{}, parents: map[string]*gauge{}, measured: map[spec.ContainerID]*measured{},
		kick: make(chan struct{}, 1), end: cancel,
	}
	c.wanted(Basic) // what an earlier daemon's containers hold
	c.wg.Go(func() { c.watch(ctx) })
	c.wg.Go(func() { c.refresh(ctx) })
	return c, nil
}

// Close ends the background work and closes all files.
func (c *Collector) Close() error {
	c.end()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.meters {
		g.meter.Close()
	}
	for _, g := range c.parents {
		g.meter.Close()
	}
	return nil
}

// watch lets go of what belongs to containers and pods that have ended. Ends with ctx or the store.
func (c *Collector) watch(ctx context.Context) {
	const depth = 1024
	for {
		sub := c.Store.Subscribe(depth)
		err := c.follow(ctx, sub.Next)
		sub.Close()
		if !errors.Is(err, event.ErrLagged) {
			return
		}
		c.dropEnded()
	}
}

func (c *Collector) follow(ctx context.Context, next func(context.Context) (store.Change, error)) error {
	for {
		change, err := next(ctx)
		if err != nil {
			return err
		}
		switch {
		case change.Kind != store.Stopped && change.Kind != store.Deleted:
		case change.Container == nil:
			c.dropParent(change.Pod.CgroupPath)
		default:
			c.drop(change.Container.ID, change.Kind == store.Deleted)
		}
	}
}

// drop forgets a container's cgroup, and if it is deleted its layer.
func (c *Collector) drop(id spec.ContainerID, deleted bool) {
	c.mu.Lock()
	g := c.meters[id]
	delete(c.meters, id)
	if deleted {
		delete(c.measured, id)
	}
	c.mu.Unlock()
	if g != nil {
		g.meter.Close()
	}
}

func (c *Collector) dropParent(parent string) {
	c.mu.Lock()
	g := c.parents[parent]
	delete(c.parents, parent)
	c.mu.Unlock()
	if g != nil {
		g.meter.Close()
	}
}

// dropEnded is drop for all that ended while nobody looked.
func (c *Collector) dropEnded() {
	c.mu.Lock()
	ids := make(map[spec.ContainerID]bool)
	for id := range c.meters {
		ids[id] = true
	}
	for id := range c.measured {
		ids[id] = true
	}
	var parents []string
	for parent := range c.parents {
		parents = append(parents, parent)
	}
	c.mu.Unlock()
	for id := range ids {
		_, ctr, err := c.Store.Container(id)
		if err != nil || ctr.State != store.ContainerRunning {
			c.drop(id, err != nil)
		}
	}
	for _, parent := range parents {
		c.dropParent(parent) // the next reading opens it again
	}
}

// gauge returns what is kept of a running container's cgroup.
func (c *Collector) gauge(ctr *store.Container) (*gauge, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.meters[ctr.ID]; g != nil {
		return g, nil
	}
	m, err := c.Cgroups.Meter(cgroup.Path(ctr.CgroupPath))
	if err != nil {
		return nil, err
	}
	g := &gauge{meter: m, rate: rate{first: sample{at: ctr.StartedAt}}}
	c.meters[ctr.ID] = g
	return g, nil
}

// parentGauge returns what is kept of a pod's cgroup.
func (c *Collector) parentGauge(p *store.Pod) (*gauge, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.parents[p.CgroupPath]; g != nil {
		return g, nil
	}
	m, err := c.Cgroups.ParentMeter(p.CgroupPath)
	if err != nil {
		return nil, err
	}
	g := &gauge{meter: m}
	c.parents[p.CgroupPath] = g
	return g, nil
}

// layerDir is where a container's writable layer is.
func (c *Collector) layerDir(id spec.ContainerID) string { return filepath.Join(c.layers, string(id)) }
