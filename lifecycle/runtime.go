package lifecycle

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/cni"
	"tare/container"
	"tare/keeper"
	"tare/nri"
	"tare/nsutil"
	"tare/oci"
	"tare/sandbox"
	"tare/security/apparmor"
	"tare/security/seccomp"
	"tare/security/selinux"
	"tare/spec"
	"tare/store"
)

// How long the steps of an operation that depend on others may take.
const (
	networkAddTimeout = 90 * time.Second // below the kubelet's four minutes for RunPodSandbox
	networkDelTimeout = 60 * time.Second
	undoTimeout       = 90 * time.Second
	killTimeout       = 30 * time.Second // until the kernel has ended what was killed
)

// Options say where the runtime keeps things.
type Options struct {
	Root  string // durable: writable layers
	State string // this boot's: sandboxes
	NetNS string // where network namespaces are bound

	CDI        container.CDI // where devices are described
	Hooks      container.HookDirs
	OwnDevices bool           // devices belong to the user and group of the request's security context
	SELinux    bool           // label pods and containers, where the host has SELinux
	Runtimes   []*oci.Runtime // each a runtime handler
}

// Images is what the runtime needs of the image store.
type Images interface {
	Get(ref string) (spec.Image, error)
	Acquire(ctx context.Context, id spec.ImageID) ([]string, error)
	Release(id spec.ImageID)
}

// Network is what the runtime needs of the pod network.
type Network interface {
	Add(ctx context.Context, p cni.Pod) (cni.Result, error)
	Del(ctx context.Context, id spec.PodID) error
	GC(ctx context.Context, live []spec.PodID) error
}

// Deps are the parts the runtime works with. All are required.
type Deps struct {
	Store   *store.Store
	Keeper  *keeper.Client
	Images  Images
	Network Network
	Cgroups *cgroup.Tree
	Plugins *nri.Plugins // may have none, and is started by its owner, after Recover
	Log     *slog.Logger
}

// Runtime runs pods and containers. Make it with New; Recover comes before the first operation.
type Runtime struct {
	Deps
	layout     sandbox.Layout
	layers     layers
	bundles    bundles
	attach     string // empty directory, where a root is attached for hooks that see the host, too
	oomFloor   int    // the lowest oom_score_adj this process may give
	openFiles  uint64 // the highest RLIMIT_NOFILE it may give
	cdi        container.CDI
	hookDirs   container.HookDirs
	ownDevices bool
	drivers    drivers

	filters  seccomp.Cache
	profiles *apparmor.Profiles
	selinux  *selinux.Labels
	spares   *sandbox.Spares
	bare     *os.File // see sandbox.NewBare; Recover makes it
	locks    spec.PodLocks
	pods     flights[spec.PodID]
	ctrs     flights[spec.ContainerID]
	orders   flights[struct{}] // start, stop, remove

	tables
	wg        sync.WaitGroup // exits being recorded
	leftovers *leftovers
	stopEnds  func() // has recovery leave to the next start what it brings to its end; nil: there was none

	execs atomic.Uint64 // numbers them
}

// layers is the directory of the writable layers.
type layers string

// of is the writable layer of a container of the pod.
func (l layers) of(p *store.Pod, id spec.ContainerID, sb *sandbox.Sandbox) container.Layer {
	uid, gid := container.RootOwner(&p.Spec)
	return container.Layer{Dir: l.dir(id), UserNS: sb.Namespaces[sandbox.User], UID: uid, GID: gid}
}

func (l layers) dir(id spec.ContainerID) string { return filepath.Join(string(l), string(id)) }

// LayersDir is the directory of the writable layers below a runtime's root: one directory each, named by
// the container's id.
func LayersDir(root string) string { return filepath.Join(root, "containers") }

// New makes a runtime; it does nothing yet.
func New(o Options, d Deps) (*Runtime, error) {
	r := &Runtime{
		Deps:    d,
		layout:  sandbox.Layout{Dir: filepath.Join(o.Root, "sandboxes"), NetNS: o.NetNS}, // containers can write there: not in the memory that /run is
		layers:  layers(LayersDir(o.Root)),
		bundles: bundles(filepath.Join(o.State, "bundles")),
		attach:  filepath.Join(o.State, "rootfs"),
		tables:  newTables(d.Keeper.Lost()), drivers: drivers{dir: DriversDir(o.State), log: d.Log},
		cdi: o.CDI, hookDirs: o.Hooks, ownDevices: o.OwnDevices,

		profiles: apparmor.New(d.Log),
		selinux:  selinux.New(o.SELinux),
		spares:   sandbox.NewSpares(d.Keeper, d.Log),

		leftovers: newLeftovers(d.Log),
	}
	if err := r.drivers.open(o.Runtimes); err != nil {
		return nil, err
	}
	for _, dir := range []string{r.layout.Dir, string(r.layers), r.attach} {
		if err := makePrivate(dir); err != nil {
			return nil, err
		}
	}
	if err := r.bundles.make(); err != nil {
		return nil, err
	}
	null, err := nsutil.OpenNull(unix.O_RDONLY) // while there are descriptors: what it is opened from stays
	if err != nil {
		return nil, err
	}
	null.Close()
	if r.openFiles, err = maxOpenFiles(); err != nil {
		return nil, err
	}
	r.oomFloor, err = oomScoreFloor()
	return r, err
}

// Close waits until the exits that were reported are recorded. Containers run on.
func (r *Runtime) Close() {
	if r.stopEnds != nil {
		r.stopEnds()
	}
	r.wg.Wait()
	r.spares.Close()
	if r.bare != nil {
		r.bare.Close()
	}
	r.leftovers.close()
}

// order runs one of the operations without a result, joined by repeated calls.
func (r *Runtime) order(ctx context.Context, key string, f func(context.Context) error) error {
	_, err := r.orders.do(ctx, key, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}
