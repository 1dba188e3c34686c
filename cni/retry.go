package cni

import (
	"context"
	"sync"
	"time"

	"tare/spec"
)

// Waits between attempts of a DEL that fails.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// retrier repeats DELs that failed, one goroutine per attachment in trouble, until they succeed
// or the daemon ends; then the records are still there.
type retrier struct {
	attempt func(context.Context, spec.PodID) bool
	stop    context.CancelFunc
	add     func(spec.PodID)
	wg      sync.WaitGroup

	mu      sync.Mutex
	pending map[spec.PodID]struct{}
}

func newRetrier(attempt func(context.Context, spec.PodID) bool) *retrier {
	// Above this there is no caller whose context could be followed: the work ends with close.
	ctx, stop := context.WithCancel(context.Background())
	r := &retrier{attempt: attempt, stop: stop, pending: make(map[spec.PodID]struct{})}
	r.add = func(id spec.PodID) { r.start(ctx, id) }
	return r
}

// start begins to repeat, unless that is under way already.
func (r *retrier) start(ctx context.Context, id spec.PodID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.pending[id]; ok || ctx.Err() != nil {
		return
	}
	r.pending[id] = struct{}{}
	r.wg.Go(func() { // ends with success or close
		defer r.forget(id)
		for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if r.attempt(ctx, id) {
				return
			}
		}
	})
}

// has says whether the attachment is in its hands.
func (r *retrier) has(id spec.PodID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.pending[id]
	return ok
}

func (r *retrier) forget(id spec.PodID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, id)
}

// close ends all repeating and waits for attempts under way.
func (r *retrier) close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.wg.Wait()
}
