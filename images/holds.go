package images

import (
	"sync"

	"tare/spec"
)

// holds counts who needs an image's layers. The catalog's listing counts as one, each Acquire as
// one more. At zero the layers wait for reap to delete them, and can no longer be acquired.
type holds struct {
	mu     sync.Mutex // guards what follows; never held over I/O
	kept   map[spec.ImageID]*hold
	unheld map[spec.ImageID]struct{} // count came down to zero, layers still on disk
}

type hold struct {
	dirs  []string // layer directories, the topmost first
	count int
}

func newHolds() *holds {
	return &holds{kept: map[spec.ImageID]*hold{}, unheld: map[spec.ImageID]struct{}{}}
}

// keep notes layers found on disk that nobody needs so far. They stay until abandon.
func (h *holds) keep(id spec.ImageID, dirs []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept[id] == nil {
		h.kept[id] = &hold{dirs: dirs}
	}
	delete(h.unheld, id)
}

// hold keeps layers and counts one need of them at once.
func (h *holds) hold(id spec.ImageID, dirs []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept[id] == nil {
		h.kept[id] = &hold{dirs: dirs}
	}
	h.kept[id].count++
	delete(h.unheld, id)
}

// acquire counts one more need of layers that are kept.
func (h *holds) acquire(id spec.ImageID) ([]string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kept[id]
	if k == nil {
		return nil, false
	}
	k.count++
	return k.dirs, true
}

// release counts one need less and reports whether it was the last.
func (h *holds) release(id spec.ImageID) (last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kept[id]
	if k == nil {
		return false // released more often than acquired: the layers are gone already
	}
	k.count--
	if k.count > 0 {
		return false
	}
	delete(h.kept, id)
	h.unheld[id] = struct{}{}
	return true
}

// abandon gives up every hold that nobody needs.
func (h *holds) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, k := range h.kept {
		if k.count == 0 {
			delete(h.kept, id)
			h.unheld[id] = struct{}{}
		}
	}
}

// takeUnheld hands over the images whose layers are to be deleted.
func (h *holds) takeUnheld() []spec.ImageID {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]spec.ImageID, 0, len(h.unheld))
	for id := range h.unheld {
		ids = append(ids, id)
	}
	clear(h.unheld)
	return ids
}

// giveBack returns what takeUnheld handed over and could not be deleted.
func (h *holds) giveBack(ids []spec.ImageID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if h.kept[id] == nil {
			h.unheld[id] = struct{}{}
		}
	}
}
