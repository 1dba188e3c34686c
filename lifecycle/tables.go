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
}

func newTables() tables {
	return tables{
		pod: map[spec.PodID]*sandbox.Sandbox{}, live: map[spec.ContainerID]*process{}, init: map[spec.PodID]*os.File{},
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pod == nil {
		sb.Close()
		return
	}
	t.pod[sb.ID] = sb
}

func (t *tables) dropSandbox(id spec.PodID) {
	t.mu.Lock()
	sb := t.pod[id]
	delete(t.pod, id)
	t.mu.Unlock()
	if sb != nil {
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		p.close()
		return
	}
	t.live[p.id] = p
}

func (t *tables) dropProcess(id spec.ContainerID) {
	t.mu.Lock()
	p := t.live[id]
	delete(t.live, id)
	t.mu.Unlock()
	if p != nil {
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.init == nil {
		pidfd.Close()
		return
	}
	t.init[id] = pidfd
}

// endInit ends the pod's init, if it has one, and with it whatever is left in the namespace.
// The keeper's entry goes when the exit is reported.
func (t *tables) endInit(id spec.PodID) error {
	t.mu.Lock()
	init := t.init[id]
	delete(t.init, id)
	t.mu.Unlock()
	if init == nil {
		return nil
	}
	defer init.Close()
	return nsutil.PidfdSignal(init, unix.SIGKILL)
}
