package spec

import (
	"sync"
	"testing"
)

// TestLocksExclude counts in plain variables under the lock; the race detector watches.
func TestLocksExclude(t *testing.T) {
	var l PodLocks
	counts := map[PodID]*int{"a": new(int), "b": new(int)}
	var wg sync.WaitGroup
	for range 50 {
		for id, n := range counts {
			wg.Go(func() {
				defer l.Lock(id)()
				*n++
			})
		}
	}
	wg.Wait()
	if *counts["a"] != 50 || *counts["b"] != 50 {
		t.Errorf("counted %d and %d", *counts["a"], *counts["b"])
	}
	if len(l.locks) != 0 {
		t.Errorf("%d locks left", len(l.locks))
	}
}
