package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
)

// spareSets is how many sets of namespaces are kept in advance: enough for pods that come one after the
// other; a crowd of them costs the same with any number.
const spareSets = 2

// restockPause lies between taking a set and making the next one: the pod that took it has its network and its first
// container by then. Both want the kernel's network lock, and the keeper, for themselves.
const restockPause = 10 * time.Millisecond

// usual are the namespaces of a pod that asks for nothing special.
var usual = []Kind{Net, UTS, IPC}

// isUsual says whether a pod's namespaces are like any other's, but for the name.
func isUsual(pod *spec.Pod, kinds []Kind) bool {
	return slices.Equal(kinds, usual) && len(pod.Sysctls) == 0
}

// Spares are usual namespaces made in advance: a network namespace costs the kernel more time than all the rest of
// a sandbox. Nobody is in them and nothing else holds them, so that they end with the daemon. They have the host's
// settings of when they were made, which is moments ago or since the last pod.
type Spares struct {
	keeper Custody
	log    *slog.Logger
	sets   chan []*os.File // in the order of usual
	quit   chan struct{}   // closed by Close

	mu      sync.Mutex // guards what follows
	filling bool
	closed  bool
	made    int // numbers them
	wg      sync.WaitGroup
}

// NewSpares returns none yet: see Fill.
func NewSpares(k Custody, log *slog.Logger) *Spares {
	return &Spares{keeper: k, log: log, sets: make(chan []*os.File, spareSets), quit: make(chan struct{})}
}

// take returns a set, which is the caller's then, or nil, and has the next one made behind.
func (s *Spares) take(ctx context.Context) []*os.File {
	defer s.Fill(ctx)
	select {
	case set := <-s.sets:
		return set
	default:
		return nil
	}
}

// Fill has what is missing made behind, also when ctx has ended. Without spares, pods start as well, but
// later.
func (s *Spares) Fill(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.filling && !s.closed {
		s.filling = true
		s.wg.Go(func() { s.fill(context.WithoutCancel(ctx)) }) // ends when there are enough
	}
}

// fill runs once at a time: who sets filling starts it.
func (s *Spares) fill(ctx context.Context) {
	select {
	case <-time.After(restockPause):
	case <-s.quit:
	}
	for s.more() {
		set, err := s.makeOne(ctx)
		if err != nil {
			s.log.Warn("no namespaces in advance", "err", err)
			s.mu.Lock()
			s.filling = false
			s.mu.Unlock()
			return
		}
		s.sets <- set // has room: only fill puts sets in
	}
}

// more says whether a set is missing, and else ends the filling.
func (s *Spares) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filling = !s.closed && len(s.sets) < cap(s.sets)
	s.made++
	return s.filling
}

func (s *Spares) makeOne(ctx context.Context) ([]*os.File, error) {
	key := fmt.Sprintf("sandbox/spare/%d", s.made)
	return runProgram(ctx, s.keeper, keeper.Run{Key: key, Program: program(&spec.Pod{}, usual), Tether: true}, len(usual))
}

// Close lets the spares go.
func (s *Spares) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	s.wg.Wait()
	for {
		select {
		case set := <-s.sets:
			nsutil.CloseAll(set)
		default:
			return
		}
	}
}

// settle makes a spare set the pod's.
func (p *Plan) settle(set []*os.File) error {
	if p.Hostname == "" {
		return nil
	}
	if err := nsutil.SetHostname(set[slices.Index(usual, UTS)], p.Hostname); err != nil {
		return fmt.Errorf("name the pod %q: %w", p.Hostname, err)
	}
	return nil
}
