package main

import (
	"sync"

	"tare/keeper"
)

// exits brings the keeper's exits to the runtime, which is built after the connection to the
// keeper: until then, those that come wait. One recovery has already seen may come again.
type exits struct {
	ready chan struct{} // closed when sink is set, or nobody will set it
	once  sync.Once
	sink  func(keeper.Exit)
}

func newExits() *exits { return &exits{ready: make(chan struct{})} }

// deliver is keeper.Options.Exited.
func (e *exits) deliver(x keeper.Exit) {
	<-e.ready
	if e.sink != nil {
		e.sink(x)
	}
}

// to names who receives.
func (e *exits) to(sink func(keeper.Exit)) {
	e.once.Do(func() {
		e.sink = sink
		close(e.ready)
	})
}

// close lets go of who waits in deliver; without a receiver exits are dropped.
func (e *exits) close() { e.to(nil) }
