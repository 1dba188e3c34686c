package images

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// flights makes calls that ask for the same pull share it. A shared pull runs as long as one of
// its callers waits for it.
type flights struct {
	mu      sync.Mutex // guards what follows and every flight's waiters
	running map[flightKey]*flight
	closed  bool

	done sync.WaitGroup
}

// flightKey holds the credential too: nobody may be given, on somebody else's credential, an
// image he could not have pulled.
type flightKey struct {
	ref  string
	auth spec.Auth
}

type flight struct {
	waiters int
	cancel  context.CancelFunc
	landed  chan struct{} // closed when img and err are set
	img     spec.Image
	err     error
}

// do returns what pull returns, called once for all calls of do with the same key that overlap.
// The end of ctx ends the waiting, and the pull too if nobody else waits for it.
func (fs *flights) do(ctx context.Context, key flightKey, pull func(context.Context) (spec.Image, error)) (spec.Image, error) {
	f, err := fs.join(ctx, key, pull)
	if err != nil {
		return spec.Image{}, err
	}
	select {
	case <-f.landed:
		return f.img, f.err
	case <-ctx.Done():
		fs.leave(key, f)
		return spec.Image{}, ctx.Err()
	}
}

func (fs *flights) join(ctx context.Context, key flightKey, pull func(context.Context) (spec.Image, error)) (*flight, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, fmt.Errorf("image store is closed: %w", errdefs.ErrUnavailable)
	}
	if f := fs.running[key]; f != nil {
		f.waiters++
		return f, nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{waiters: 1, cancel: cancel, landed: make(chan struct{})}
	if fs.running == nil {
		fs.running = map[flightKey]*flight{}
	}
	fs.running[key] = f
	fs.done.Go(func() {
		defer cancel()
		f.img, f.err = pull(ctx)
		fs.forget(key, f)
		close(f.landed)
	})
	return f, nil
}

// leave takes one waiter off. The last one cancels the pull, and a call that comes later starts
// a new one instead of joining one that is about to fail.
func (fs *flights) leave(key flightKey, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.waiters--
	if f.waiters == 0 {
		f.cancel()
		if fs.running[key] == f {
			delete(fs.running, key)
		}
	}
}

func (fs *flights) forget(key flightKey, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.running[key] == f {
		delete(fs.running, key)
	}
}

// close cancels what runs, waits for it, and refuses what comes later.
func (fs *flights) close() {
	fs.mu.Lock()
	fs.closed = true
	for _, f := range fs.running {
		f.cancel()
	}
	fs.mu.Unlock()
	fs.done.Wait()
}
