package event

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestOrder(t *testing.T) {
	var f Fanout[int]
	a, b := f.Subscribe(8), f.Subscribe(8)
	f.Publish(1, 2)
	f.Publish(3)
	for _, s := range []*Subscription[int]{a, b} {
		for want := 1; want <= 3; want++ {
			if got, err := s.Next(t.Context()); err != nil || got != want {
				t.Fatalf("Next = %d, %v, want %d", got, err, want)
			}
		}
	}
}

func TestLaggingSubscriberIsCutOff(t *testing.T) {
	var f Fanout[int]
	slow, quick := f.Subscribe(2), f.Subscribe(8)
	f.Publish(1, 2, 3) // never waits
	f.Publish(4)
	for want := 1; want <= 2; want++ {
		if got, err := slow.Next(t.Context()); err != nil || got != want {
			t.Fatalf("slow: Next = %d, %v, want what was queued before the overflow: %d", got, err, want)
		}
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrLagged) {
		t.Fatalf("slow: Next = %v, want ErrLagged", err)
	}
	slow.Close()
	for want := 1; want <= 4; want++ {
		if got, err := quick.Next(t.Context()); err != nil || got != want {
			t.Fatalf("quick: Next = %d, %v, want %d", got, err, want)
		}
	}
}

func TestEnds(t *testing.T) {
	var f Fanout[int]
	own, others := f.Subscribe(1), f.Subscribe(1)
	own.Close()
	own.Close()
	if _, err := own.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed subscription: Next = %v, want ErrClosed", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := others.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: Next = %v, want context.Canceled", err)
	}
	f.Publish(1)
	f.Close()
	if got, err := others.Next(t.Context()); err != nil || got != 1 {
		t.Errorf("queued before close: Next = %d, %v, want 1", got, err)
	}
	for name, s := range map[string]*Subscription[int]{"open at close": others, "late": f.Subscribe(1)} {
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: Next = %v, want ErrClosed", name, err)
		}
		s.Close()
	}
	f.Publish(2)
}

// Every subscriber sees the events of concurrent publishers in one and the same order.
func TestOneOrder(t *testing.T) {
	var f Fanout[int]
	const publishers, each = 4, 200
	subs := []*Subscription[int]{f.Subscribe(publishers * each), f.Subscribe(publishers * each)}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				f.Publish(p*each + i)
			}
		})
	}
	wg.Wait()
	for range publishers * each {
		a, errA := subs[0].Next(t.Context())
		b, errB := subs[1].Next(t.Context())
		if a != b || errA != nil || errB != nil {
			t.Fatalf("subscribers saw %d (%v) and %d (%v)", a, errA, b, errB)
		}
	}
}
