package spec

import "sync"

// PodLocks is one lock per pod, there only while it is held or waited for. The zero value is ready for use.
type PodLocks struct {
	mu    sync.Mutex
	locks map[PodID]*podLock
}

type podLock struct {
	sync.Mutex
	users int // holder and waiters; guarded by PodLocks.mu
}

// Lock waits for the pod's lock and returns what releases it.
func (p *PodLocks) Lock(id PodID) (unlock func()) {
	p.mu.Lock()
	if p.locks == nil {
		p.locks = make(map[PodID]*podLock)
	}
	l := p.locks[id]
	if l == nil {
		l = &podLock{}
		p.locks[id] = l
	}
	l.users++
	p.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(p.locks, id)
		}
	}
}
