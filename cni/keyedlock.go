package cni

import (
	"sync"

	"tare/spec"
)

// keyedLock is one lock per pod, there only while it is held or waited for.
type keyedLock struct {
	mu    sync.Mutex
	locks map[spec.PodID]*podLock
}

type podLock struct {
	sync.Mutex
	users int // holder and waiters; guarded by keyedLock.mu
}

// lock waits for the pod's lock and returns what releases it.
func (k *keyedLock) lock(id spec.PodID) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[spec.PodID]*podLock)
	}
	l := k.locks[id]
	if l == nil {
		l = &podLock{}
		k.locks[id] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, id)
		}
	}
}
