package lifecycle

import (
	"log/slog"
	"sync"
	"time"
)

// sweepEvery is how often leftovers are tried again.
const sweepEvery = time.Second

// leftovers are what operations that failed could not take back, with no descriptor left for instance, and no
// record names: their removal is tried until it works. What is left when the daemon ends, the next one sweeps.
type leftovers struct {
	log    *slog.Logger
	closed chan struct{}
	wg     sync.WaitGroup
}

func newLeftovers(log *slog.Logger) *leftovers {
	return &leftovers{log: log, closed: make(chan struct{})}
}

// remove removes something now, or behind if that fails. The error is that of now.
func (l *leftovers) remove(name string, step func() error) error {
	err := step()
	if err != nil {
		l.later(name, err, step)
	}
	return err
}

// later removes something behind that could not be removed for cause.
func (l *leftovers) later(name string, cause error, step func() error) {
	l.log.Warn("cannot be removed yet", slog.String("name", name), slog.Any("err", cause))
	l.wg.Go(func() { l.repeat(step) }) // ends with success or close
}

func (l *leftovers) repeat(step func() error) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-ticker.C:
		}
		if step() == nil {
			return
		}
	}
}

func (l *leftovers) close() {
	close(l.closed)
	l.wg.Wait()
}
