package store

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"tare/event"
	"tare/spec"
)

// UIDLabel is the label under which the kubelet looks for the sandboxes and containers of one pod.
const UIDLabel = "io.kubernetes.pod.uid"

// Store holds the records of one daemon's pods.
type Store struct {
	dir     string
	changes event.Fanout[Change]
	closed  chan struct{}
	late    sync.WaitGroup // records that wait to be written

	mu         sync.RWMutex // guards the maps, never held over I/O
	pods       map[spec.PodID]*entry
	containers map[spec.ContainerID]*entry
	keys       map[spec.PodKey]*entry
	uids       map[string]map[spec.PodID]*entry
}

// entry is one pod's place in the index.
type entry struct {
	pod atomic.Pointer[Pod] // the committed record

	mu     sync.Mutex // serialises the commits of this pod, held over the file's write
	gone   bool       // deleted; a writer that waited for mu must not bring it back
	behind bool       // the file could not be written when the record was noted
}

// Open reads the records in dir, which it makes if needed. Records that cannot be used are
// returned beside the store, not skipped: the caller has to clean up what they stood for.
func Open(dir string) (*Store, []Broken, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make record directory: %w", err)
	}
	s := &Store{
		dir:        dir,
		closed:     make(chan struct{}),
		pods:       make(map[spec.PodID]*entry),
		containers: make(map[spec.ContainerID]*entry),
		keys:       make(map[spec.PodKey]*entry),
		uids:       make(map[string]map[spec.PodID]*entry),
	}
	broken, err := s.load()
	if err != nil {
		return nil, nil, err
	}
	return s, broken, nil
}

// Create stores a new pod, which must not be changed from then on. ErrAlreadyExists if its id
// or its key is taken.
func (s *Store) Create(p *Pod) error {
	if err := p.check(); err != nil {
		return err
	}
	e, err := s.claim(p)
	if err != nil {
		return err
	}
	defer e.mu.Unlock()
	if err := s.write(p); err != nil {
		e.gone = true
		s.mu.Lock()
		s.unindex(e, p)
		s.mu.Unlock()
		return err
	}
	e.pod.Store(p)
	s.changes.Publish(diff(nil, p, time.Now())...)
	return nil
}

// claim enters p in the index, still without a record that readers could see, and returns its
// entry locked.
func (s *Store) claim(p *Pod) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(p); err != nil {
		return nil, err
	}
	e := s.index(p)
	e.mu.Lock() // uncontended: nobody else has seen it
	return e, nil
}

// Update changes the record of a pod. It calls change with a private copy, whose own fields,
// container map and containers' fields may be set; what lies deeper (labels, slices, Resources,
// OCI) is shared with readers and has to be replaced, not written to. If change succeeds, the
// copy is committed: file, then readers, then the Changes; it is returned and must not be
// changed any more. If change or the file's write fails, nothing has happened.
// Error classes: ErrNotFound, ErrAlreadyExists for a container key that is taken, and change's own.
func (s *Store) Update(id spec.PodID, change func(p *Pod) error) (*Pod, error) {
	return commit(s, id, change, func(e *entry, p *Pod) error {
		err := s.write(p)
		e.behind = e.behind && err != nil
		return err
	})
}

// commit makes a change if save, with the entry locked, lets it.
func commit(s *Store, id spec.PodID, change func(p *Pod) error, save func(*entry, *Pod) error) (*Pod, error) {
	e, err := s.lock(id)
	if err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	old := e.pod.Load()
	next := old.copy()
	if err := change(next); err != nil {
		return nil, err
	}
	if next.ID != old.ID || next.Spec.Key() != old.Spec.Key() {
		return nil, fmt.Errorf("update of pod %s changes its identity: %w", id, errdefs.ErrInternal)
	}
	if err := next.check(); err != nil {
		return nil, err
	}
	if err := save(e, next); err != nil {
		return nil, err
	}
	s.replace(e, old, next)
	s.changes.Publish(diff(old, next, time.Now())...)
	return next, nil
}

// Delete removes the record of a pod and its containers, and the file of one that Open called
// broken. A pod that is not there is as good as deleted.
func (s *Store) Delete(id spec.PodID) error {
	e, err := s.lock(id)
	if err != nil {
		return s.remove(id)
	}
	defer e.mu.Unlock()
	if err := s.remove(id); err != nil {
		return err
	}
	e.gone = true
	old := e.pod.Load()
	s.mu.Lock()
	s.unindex(e, old)
	s.mu.Unlock()
	s.changes.Publish(diff(old, nil, time.Now())...)
	return nil
}

// lock returns the entry of a pod with its mutex held.
func (s *Store) lock(id spec.PodID) (*entry, error) {
	s.mu.RLock()
	e := s.pods[id]
	s.mu.RUnlock()
	if e == nil {
		return nil, notFound("pod", id)
	}
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return nil, notFound("pod", id)
	}
	return e, nil
}

// check finds what would make the index lie, and states that cannot be written.
func (p *Pod) check() error {
	if _, known := podStateNames[p.State]; !known {
		return fmt.Errorf("pod %s is in state %d, which does not exist: %w", p.ID, int(p.State), errdefs.ErrInternal)
	}
	keys := make(map[spec.ContainerKey]spec.ContainerID, len(p.Containers))
	for id, c := range p.Containers {
		if c == nil || c.ID != id || c.Pod != p.ID {
			return fmt.Errorf("container %s of pod %s is not the one its record names: %w", id, p.ID, errdefs.ErrInternal)
		}
		if _, known := containerStateNames[c.State]; !known {
			return fmt.Errorf("container %s of pod %s is in state %d, which does not exist: %w", id, p.ID, int(c.State), errdefs.ErrInternal)
		}
		if other, taken := keys[c.Key()]; taken {
			return fmt.Errorf("containers %s and %s are both %s, attempt %d: %w",
				other, id, c.Spec.Name, c.Spec.Attempt, errdefs.ErrAlreadyExists)
		}
		keys[c.Key()] = id
	}
	return nil
}

func notFound[ID ~string](kind string, id ID) error {
	return fmt.Errorf("%s %q: %w", kind, string(id), errdefs.ErrNotFound)
}
