package cri

import (
	"context"
	"sync"
	"sync/atomic"
)

// Finding is something about this host that may take a while to find out. Nil: it is not so.
type Finding struct {
	yes   atomic.Bool
	first sync.Once
	known chan struct{} // closed at the first Tell; nil: it was known from the beginning
}

// Found is a finding that is known already.
func Found(yes bool) *Finding {
	f := &Finding{}
	f.yes.Store(yes)
	return f
}

// Sought is a finding that somebody will Tell of.
func Sought() *Finding { return &Finding{known: make(chan struct{})} }

// Tell says what was found. It may be told anew.
func (f *Finding) Tell(yes bool) {
	f.yes.Store(yes)
	f.first.Do(func() { close(f.known) })
}

// Now is what is known now: no, as long as nothing is.
func (f *Finding) Now() bool { return f != nil && f.yes.Load() }

// Wait waits until it is known.
func (f *Finding) Wait(ctx context.Context) (bool, error) {
	if f == nil || f.known == nil {
		return f.Now(), nil
	}
	select {
	case <-f.known:
		return f.Now(), nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
