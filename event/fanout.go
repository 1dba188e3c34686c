package event

import (
	"context"
	"errors"
	"sync"
)

// ErrLagged ends a subscription whose queue overflowed: events were lost after those received.
var ErrLagged = errors.New("subscriber fell behind")

// ErrClosed ends a subscription that its owner or the fan-out closed.
var ErrClosed = errors.New("subscription closed")

// Fanout is the source of one kind of events. The zero value is ready for use.
type Fanout[T any] struct {
	mu     sync.Mutex // orders the events; guards subs, closed, and each subscription's end
	subs   map[*Subscription[T]]struct{}
	closed bool
}

// Subscription is one subscriber's queue.
type Subscription[T any] struct {
	from  *Fanout[T]
	queue chan T
	err   error // why queue is closed; written before closing it
}

// Subscribe returns a queue of all events published from now on, at most depth of them
// unread. The caller closes it.
func (f *Fanout[T]) Subscribe(depth int) *Subscription[T] {
	s := &Subscription[T]{from: f, queue: make(chan T, depth)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.end(ErrClosed)
		return s
	}
	if f.subs == nil {
		f.subs = make(map[*Subscription[T]]struct{})
	}
	f.subs[s] = struct{}{}
	return s
}

// Publish queues vs, in this order and with nothing in between, for every subscriber.
func (f *Fanout[T]) Publish(vs ...T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		if !s.put(vs) {
			s.end(ErrLagged)
		}
	}
}

// Close ends every subscription with ErrClosed, once they have read what is queued.
func (f *Fanout[T]) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.subs {
		s.end(ErrClosed)
	}
}

// Next waits for the next event. Events queued before the end of the subscription are still
// returned; then comes ErrLagged or ErrClosed, or ctx's error.
func (s *Subscription[T]) Next(ctx context.Context) (T, error) {
	select {
	case v, ok := <-s.queue:
		if !ok {
			return v, s.err
		}
		return v, nil
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription[T]) Close() {
	s.from.mu.Lock()
	defer s.from.mu.Unlock()
	if _, live := s.from.subs[s]; live {
		s.end(ErrClosed)
	}
}

// put queues vs and reports whether they fitted. Precondition: from.mu is held.
func (s *Subscription[T]) put(vs []T) bool {
	for _, v := range vs {
		select {
		case s.queue <- v:
		default:
			return false
		}
	}
	return true
}

// end closes the queue, once. Precondition: from.mu is held and the subscription is live.
func (s *Subscription[T]) end(err error) {
	delete(s.from.subs, s)
	s.err = err
	close(s.queue)
}
