package lifecycle

import (
	"sync"

	"tare/spec"
)

// locks holds one mutex per pod that is being worked on.
type locks struct {
	mu   sync.Mutex
	pods map[spec.PodID]*podLock
}

type podLock struct {
	sync.Mutex
	users int // holders and waiters, guarded by locks.mu
}

// lock waits for the pod's turn and returns what ends it.
func (l *locks) lock(id spec.PodID) (unlock func()) {
	l.mu.Lock()
	p := l.pods[id]
	if p == nil {
		p = &podLock{}
		if l.pods == nil {
			l.pods = map[spec.PodID]*podLock{}
		}
		l.pods[id] = p
	}
	p.users++
	l.mu.Unlock()
	p.Lock()
	return func() {
		p.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if p.users--; p.users == 0 {
			delete(l.pods, id)
		}
	}
}
