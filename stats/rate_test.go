package stats

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	start := time.Unix(1000, 0)
	type step struct{ at, used, want float64 } // seconds, seconds of processor time, cores
	for _, tt := range []struct {
		name  string
		first sample
		steps []step
	}{
		{"no sample before", sample{}, []step{{0, 5, 0}, {2, 6, 0.5}}},
		{"since the start", sample{at: start}, []step{{10, 5, 0.5}, {20, 15, 1}, {30, 15, 0}}},
		{"readings in quick succession", sample{at: start}, []step{{10, 0, 0}, {10.1, 0.1, 0.1 / 10.1}, {20, 10, 1}, {20.01, 10, 10 / 10.01}, {20.5, 10, 10 / 10.5}, {21.5, 10, 0}}},
		{"within the first window", sample{at: start}, []step{{0.5, 0.25, 0.5}, {0.6, 0.3, 0.5}, {1.5, 0.75, 0.5}}},
		{"a counter that begins anew", sample{at: start}, []step{{10, 5, 0.5}, {20, 1, 0}}},
		{"since a start that the clock was set back from", sample{at: start}, []step{{-3600, 5, 0}, {-3590, 10, 0.5}, {-3580, 20, 1}}},
		{"the same moment", sample{at: start}, []step{{0, 0, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rate{first: tt.first}
			for _, s := range tt.steps {
				now := sample{start.Add(time.Duration(s.at * 1e9)), time.Duration(s.used * 1e9)}
				if got := float64(r.next(now)) / 1e9; got < s.want-1e-6 || got > s.want+1e-6 {
					t.Errorf("at %g s: %g cores, want %g", s.at, got, s.want)
				}
			}
		})
	}
}
