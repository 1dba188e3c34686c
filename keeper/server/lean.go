package server

import (
	"log/slog"
	"runtime/metrics"
	"sync/atomic"

	"tare/nsutil"
)

// leanness keeps forks cheap: what the Go runtime has mapped is not for children.
type leanness struct {
	mapped atomic.Uint64 // bytes of the runtime's when children were last spared them
}

// refresh looks whether the runtime has mapped more. Without it, children are as well, but slower.
func (l *leanness) refresh(log *slog.Logger) {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(sample)
	mapped := sample[0].Value.Uint64()
	if l.mapped.Swap(mapped) == mapped {
		return
	}
	if err := nsutil.KeepFromChildren(); err != nil {
		log.Warn("memory is copied for every child", "err", err)
	}
}
