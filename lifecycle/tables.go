package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
)

// tables are the handles the daemon has of what lives: of pods, their inits and containers. When the
// estate was taken, the maps are nil, and what an operation that is still under way wants to keep is
// closed: the next runtime finds by the records what was made, and brings it to its end.
type tables struct {
	mu   sync.Mutex // guards the maps
	pod  map[spec.PodID]*sandbox.Sandbox
	live map[spec.ContainerID]*process
	init map[spec.PodID]*os.File // pidfds of the pods' inits, where there are any
	lost <-chan struct{}         // closed when the keeper is; of every process
}

func newTables(lost <-chan struct{}) tables {
	return tables{
		pod: map[spec.PodID]*sandbox.Sandbox{}, live: map[spec.ContainerID]*process{}, init: map[spec.PodID]*os.File{}, lost: lost,
	}
}

// sandboxOf returns the live sandbox of a pod.
func (t *tables) sandboxOf(id spec.PodID) (*sandbox.Sandbox, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sb := t.pod[id]; sb != nil {
		return sb, nil
	}
	return nil, fmt.Errorf("pod %s has no namespaces: %w", id.Short(), errNotReady)
}

func (t *tables) keepSandbox(sb *sandbox.Sandbox) {
	if !put(&t.mu, &t.pod, sb.ID, sb) {
		sb.Close()
	}
}

func (t *tables) dropSandbox(id spec.PodID) {
	if sb := take(&t.mu, &t.pod, id); sb != nil {
		sb.Close()
	}
}

// processOf returns the live side of a container, or nil.
func (t *tables) processOf(id spec.ContainerID) *process {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live[id]
}

func (t *tables) keepProcess(p *process) {
	p.lost = t.lost
	if !put(&t.mu, &t.live, p.id, p) {
		p.close()
	}
}

func (t *tables) dropProcess(id spec.ContainerID) {
	if p := take(&t.mu, &t.live, id); p != nil {
		p.close()
	}
}

// killContainers ends every process of the pod's containers and waits until their exits are on
// record. All are killed before the first is waited for.
func (t *tables) killContainers(ctx context.Context, p *store.Pod) error {
	var errs []error
	var killed []*process
	for id := range p.Containers {
		if live := t.processOf(id); live != nil {
			errs = append(errs, live.kill(ctx))
			killed = append(killed, live)
		}
	}
	for _, live := range killed {
		errs = append(errs, live.wait(ctx, killTimeout))
	}
	return errors.Join(errs...)
}

// initOf returns the init of a pod's PID namespace, or nil.
func (t *tables) initOf(id spec.PodID) *os.File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.init[id]
}

func (t *tables) keepInit(id spec.PodID, pidfd *os.File) {
	if !put(&t.mu, &t.init, id, pidfd) {
		pidfd.Close()
	}
}

// endInit ends the pod's init, if it has one, and with it whatever is left in the namespace.
// The keeper's entry goes when the exit is reported.
func (t *tables) endInit(id spec.PodID) error {
	init := take(&t.mu, &t.init, id)
	if init == nil {
		return nil
	}
	defer init.Close()
	return nsutil.PidfdSignal(init, unix.SIGKILL)
}

// put enters a handle into a table, and reports false if the tables are gone.
func put[K comparable, V any](mu *sync.Mutex, table *map[K]V, id K, handle V) bool {
	mu.Lock()
	defer mu.Unlock()
	if *table == nil {
		return false
	}
	(*table)[id] = handle
	return true
}

// take removes a handle from a table and returns it, or the zero value.
func take[K comparable, V any](mu *sync.Mutex, table *map[K]V, id K) V {
	mu.Lock()
	defer mu.Unlock()
	handle := (*table)[id]
	delete(*table, id)
	return handle
}
