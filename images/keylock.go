package images

import (
	"context"
	"sync"
)

// keyLocks are mutexes by name. Pulls that meet at a blob or layer wait for each other there
// instead of fetching it twice (core/unpack calls this duplication suppression).
type keyLocks struct {
	mu   sync.Mutex // guards held
	held map[string]chan struct{}
}

// Lock waits until nobody holds key, or ctx ends.
func (l *keyLocks) Lock(ctx context.Context, key string) error {
	for {
		busy := l.try(key)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes key, or returns what is closed when its holder lets go.
func (l *keyLocks) try(key string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy := l.held[key]; busy != nil {
		return busy
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	l.held[key] = make(chan struct{})
	return nil
}

// Unlock lets go of key.
func (l *keyLocks) Unlock(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[key])
	delete(l.held, key)
}
