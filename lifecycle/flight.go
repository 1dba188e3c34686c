package lifecycle

import (
	"context"
	"sync"
)

// flights lets calls that ask for the same thing share one execution.
type flights[T any] struct {
	mu      sync.Mutex
	running map[string]*flight[T]
}

type flight[T any] struct {
	callers int // guarded by flights.mu
	done    chan struct{}
	result  T
	err     error
}

// do runs f under a key, or joins the run under way. The caller waits until ctx ends at most; f
// runs on without it, with ctx's values, until it is done.
func (g *flights[T]) do(ctx context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	g.mu.Lock()
	fl := g.running[key]
	if fl == nil {
		fl = &flight[T]{done: make(chan struct{})}
		if g.running == nil {
			g.running = map[string]*flight[T]{}
		}
		g.running[key] = fl
		go g.run(context.WithoutCancel(ctx), key, fl, f) // ends with f, whose steps have deadlines
	}
	fl.callers++
	g.mu.Unlock()
	select {
	case <-fl.done:
		return fl.result, fl.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (g *flights[T]) run(ctx context.Context, key string, fl *flight[T], f func(context.Context) (T, error)) {
	fl.result, fl.err = f(ctx)
	g.mu.Lock()
	delete(g.running, key)
	g.mu.Unlock()
	close(fl.done)
}
