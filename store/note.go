package store

import (
	"time"

	"tare/spec"
)

// catchUpEvery is how often a record that could not be written is tried again.
const catchUpEvery = 500 * time.Millisecond

// Note is Update for what has happened already, or ends something: that its file cannot be written, on a full
// disk for instance, does not undo it, and is no reason not to free what the pod takes. Readers are told at once;
// the file follows as soon as it can. A daemon that dies before finds the older record, from which recovery comes
// to the same end.
func (s *Store) Note(id spec.PodID, change func(p *Pod) error) (*Pod, error) {
	return commit(s, id, change, func(e *entry, p *Pod) error {
		if s.write(p) == nil {
			e.behind = false
			return nil
		}
		if !e.behind {
			e.behind = true
			s.late.Go(func() { e.catchUp(s.write, s.closed) }) // ends when the file is written, the pod deleted, or the store closed
		}
		return nil
	})
}

// Behind says whether the record of a pod is newer than its file.
func (s *Store) Behind(id spec.PodID) bool {
	e, err := s.lock(id)
	if err != nil {
		return false
	}
	defer e.mu.Unlock()
	return e.behind
}

// catchUp writes a record until that works.
func (e *entry) catchUp(write func(*Pod) error, closed <-chan struct{}) {
	ticker := time.NewTicker(catchUpEvery)
	defer ticker.Stop()
	for e.tryAgain(write) {
		select {
		case <-ticker.C:
		case <-closed:
			return
		}
	}
}

// tryAgain reports whether there is something left to do.
func (e *entry) tryAgain(write func(*Pod) error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.gone && e.behind {
		e.behind = write(e.pod.Load()) != nil
	}
	return !e.gone && e.behind
}
