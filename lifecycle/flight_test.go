package lifecycle

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestFlightsJoin starts one execution, lets others ask for the same, and finds that all got its result.
func TestFlightsJoin(t *testing.T) {
	var g flights[int]
	runs := 0
	entered, leave := make(chan struct{}), make(chan struct{})
	f := func(context.Context) (int, error) {
		runs++
		close(entered)
		<-leave
		return 42, nil
	}
	var wg sync.WaitGroup
	ask := func() {
		defer wg.Done()
		if v, err := g.do(t.Context(), "k", f); v != 42 || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
	wg.Add(1)
	go ask()
	<-entered
	wg.Add(9)
	for range 9 {
		go ask() // join now or, if late, would run f again and close entered twice: a panic
	}
	if other, err := g.do(t.Context(), "other", func(context.Context) (int, error) { return 1, nil }); other != 1 || err != nil {
		t.Errorf("another key waits for this one: %d, %v", other, err)
	}
	waitJoined(&g, "k")
	close(leave)
	wg.Wait()
	if runs != 1 {
		t.Errorf("ran %d times", runs)
	}
	if len(g.running) != 0 {
		t.Errorf("%d flights left", len(g.running))
	}
}

// waitJoined returns once nine callers more have entered do; they are counted by the flight.
func waitJoined(g *flights[int], key string) {
	for {
		g.mu.Lock()
		n := g.running[key].callers
		g.mu.Unlock()
		if n == 10 {
			return
		}
	}
}

// TestFlightsOutliveTheirCaller cancels the only caller: the execution goes on, and the next
// caller finds it.
func TestFlightsOutliveTheirCaller(t *testing.T) {
	var g flights[int]
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	f := func(ctx context.Context) (int, error) {
		close(entered)
		<-leave
		return 7, ctx.Err()
	}
	first := make(chan error)
	go func() {
		_, err := g.do(ctx, "k", f)
		first <- err
	}()
	<-entered
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled caller got %v", err)
	}
	close(leave)
	if v, err := g.do(t.Context(), "k", func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("the next caller got %d, %v", v, err)
	}
}
