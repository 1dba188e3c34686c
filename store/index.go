package store

import (
	"fmt"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// free finds out whether p can enter the index. Precondition: mu is held.
func (s *Store) free(p *Pod) error {
	if s.pods[p.ID] != nil {
		return fmt.Errorf("pod %s: %w", p.ID, errdefs.ErrAlreadyExists)
	}
	key := p.Spec.Key()
	if s.keys[key] != nil {
		return fmt.Errorf("pod with uid %s, attempt %d: %w", key.UID, key.Attempt, errdefs.ErrAlreadyExists)
	}
	return nil
}

// insert enters p with its record. Precondition: mu is held.
func (s *Store) insert(p *Pod) { s.index(p).pod.Store(p) }

// index enters p under all its names, without its record. Precondition: mu is held.
func (s *Store) index(p *Pod) *entry {
	e := new(entry)
	s.pods[p.ID] = e
	s.keys[p.Spec.Key()] = e
	s.indexContained(e, p)
	return e
}

// unindex takes p out again. Precondition: mu is held.
func (s *Store) unindex(e *entry, p *Pod) {
	delete(s.pods, p.ID)
	delete(s.keys, p.Spec.Key())
	s.unindexContained(e, p)
}

// replace makes next the record that readers see instead of old.
func (s *Store) replace(e *entry, old, next *Pod) {
	if sameContainers(old, next) {
		e.pod.Store(next)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unindexContained(e, old)
	s.indexContained(e, next)
	e.pod.Store(next)
}

// sameContainers reports whether both records are found under the same names. Labels are
// fixed at creation, so the set of containers decides.
func sameContainers(a, b *Pod) bool {
	if len(a.Containers) != len(b.Containers) {
		return false
	}
	for id := range a.Containers {
		if b.Containers[id] == nil {
			return false
		}
	}
	return true
}

// indexContained enters the names that depend on p's containers. Precondition: mu is held.
func (s *Store) indexContained(e *entry, p *Pod) {
	for id := range p.Containers {
		s.containers[id] = e
	}
	for uid := range p.uids() {
		if s.uids[uid] == nil {
			s.uids[uid] = make(map[spec.PodID]*entry, 1)
		}
		s.uids[uid][p.ID] = e
	}
}

// unindexContained is indexContained backwards. Precondition: mu is held.
func (s *Store) unindexContained(e *entry, p *Pod) {
	for id := range p.Containers {
		if s.containers[id] == e {
			delete(s.containers, id)
		}
	}
	for uid := range p.uids() {
		delete(s.uids[uid], p.ID)
		if len(s.uids[uid]) == 0 {
			delete(s.uids, uid)
		}
	}
}
