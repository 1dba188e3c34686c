package stats

import (
	"sync"
	"time"
)

// rateWindow is the least time between the two samples of a rate: processor time is accounted at
// scheduler ticks of up to 10 ms.
const rateWindow = time.Second

// sample is a counter of processor time at one moment.
type sample struct {
	at    time.Time
	total time.Duration
}

// rate turns readings of processor time into its use. It keeps two samples, so that a rate spans
// rateWindow even when readings follow each other at once.
type rate struct {
	mu            sync.Mutex // guards the samples
	first, second sample
}

// next takes a reading and returns the processor time used each second, in ns, since a former one. 0 for
// the very first, unless first was given.
func (r *rate) next(now sample) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A moment of a record is the wall clock's, which may have been set back since: nothing spans that.
	if r.first.at.IsZero() || now.at.Before(r.first.at) {
		r.first, r.second = now, sample{}
		return 0
	}
	if !r.second.at.IsZero() && now.at.Sub(r.second.at) >= rateWindow {
		r.first, r.second = r.second, sample{}
	}
	if r.second.at.IsZero() && now.at.Sub(r.first.at) >= rateWindow {
		r.second = now
	}
	wall, used := now.at.Sub(r.first.at), now.total-r.first.total
	if wall <= 0 || used < 0 {
		return 0
	}
	return uint64(float64(used) / wall.Seconds())
}
