package images

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"tare/spec"
)

func TestConcurrentPullsAreOne(t *testing.T) {
	var fetches atomic.Int32
	gate := make(chan struct{})
	layer := layerOf(t, noise("f", 10_000))
	body := compressed(t, layer)
	r := newRegistryServer(t, onBlob(digestOf(t, layer), func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		<-gate
		w.Write(body)
	}))
	s := openStore(t, Options{})
	ref := r.push(t, "app:v1", imageOf(t, layer))
	other := r.push(t, "other:v1", imageOf(t, layer, layerOf(t, entry{name: "g", body: "x"})))
	var done sync.WaitGroup
	for i := range 12 {
		auth := []*spec.Auth{nil, {Username: "u", Password: "p"}}[i%2]
		done.Go(func() {
			if _, err := s.Pull(context.Background(), spec.Pull{Image: []string{ref, ref, other}[i%3], Auth: auth}); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	done.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("layer was fetched %d times, want once for all pulls", n)
	}
}

// Who joined a pull gets it, whoever leaves; the registry is asked once.
func TestJoinedPullSurvivesItsFirstCaller(t *testing.T) {
	asked, gate, layer := make(chan struct{}), make(chan struct{}), layerOf(t, noise("f", 10_000))
	body := compressed(t, layer)
	var fetches atomic.Int32
	r := newRegistryServer(t, onBlob(digestOf(t, layer), func(w http.ResponseWriter, _ *http.Request) {
		if fetches.Add(1) == 1 {
			close(asked)
		}
		<-gate
		w.Write(body)
	}))
	s := openStore(t, Options{})
	ref := r.push(t, "app:v1", imageOf(t, layer))
	ctx, cancel := context.WithCancel(context.Background())
	var first, second sync.WaitGroup
	first.Go(func() {
		if _, err := s.Pull(ctx, spec.Pull{Image: ref}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled pull: %v", err)
		}
	})
	<-asked
	second.Go(func() { mustPull(t, s, ref) })
	for s.flights.waiters(flightKey{ref: ref}) < 2 {
		runtime.Gosched()
	}
	cancel()
	first.Wait()
	close(gate)
	second.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("layer was fetched %d times, want once", n)
	}
}

// waiters is how many wait for a pull.
func (fs *flights) waiters(key flightKey) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.running[key]; f != nil {
		return f.waiters
	}
	return 0
}

func TestCancelledPull(t *testing.T) {
	asked, layer := make(chan struct{}), layerOf(t, noise("f", 10_000))
	body := compressed(t, layer)
	var calls atomic.Int32
	r := newRegistryServer(t, onBlob(digestOf(t, layer), func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			close(asked)
			<-r.Context().Done() // the client went away
			return
		}
		w.Write(body)
	}))
	s := openStore(t, Options{})
	ref := r.push(t, "app:v1", imageOf(t, layer))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := s.Pull(ctx, spec.Pull{Image: ref}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled pull: %v", err)
		}
	})
	<-asked
	cancel()
	done.Wait()
	mustPull(t, s, ref) // a new flight, not the dying one
}

func TestCloseEndsPulls(t *testing.T) {
	asked, layer := make(chan struct{}), layerOf(t, noise("f", 10_000))
	r := newRegistryServer(t, onBlob(digestOf(t, layer), func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	o := Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	ref := r.push(t, "app:v1", imageOf(t, layer))
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := s.Pull(context.Background(), spec.Pull{Image: ref}); err == nil {
			t.Error("pull succeeded on a closed store")
		}
	})
	<-asked
	s = reopen(t, s, o)
	defer s.Close()
	done.Wait()
	wantNothingLeft(t, s)
}
