package spec

import "time"

// Clocks shift a pod's clocks against the host's (time_namespaces(7)): what its processes read as
// CLOCK_MONOTONIC and CLOCK_BOOTTIME, the latter being /proc/uptime too. The wall clock cannot be
// shifted.
type Clocks struct {
	Monotonic time.Duration
	Boottime  time.Duration
}

// Nanos is a time as CRI and NRI count it; one that never came is 0.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// The annotations of a pod that ask for Clocks, durations such as "24h" or "-90m". One of them is
// enough; the other clock then stays the host's.
const (
	MonotonicOffsetAnnotation = "tare/monotonic-offset"
	BoottimeOffsetAnnotation  = "tare/boottime-offset"
)
