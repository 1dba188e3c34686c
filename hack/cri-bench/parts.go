package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	warmUp     = 5  // pods of each runtime before the first that counts
	width      = 10 // at once, in bursts
	execs      = 20 // one after the other, in a round
	burstExecs = 200
)

// part is one kind of work. Rounds of it alternate between the runtimes.
type part struct {
	name   string
	rounds func(*bench) int
	work   func(b *bench, ctx context.Context, s *subject) error
	hollow bool // also where nothing runs in pods
}

// parts are what is measured, in this order.
func parts() []part {
	once := func(*bench) int { return 1 }
	some := func(b *bench) int { return max(1, b.rounds/20) }
	return []part{
		{"life", func(b *bench) int { return b.rounds }, (*bench).life, true},
		{"userns", func(b *bench) int { return b.rounds / 2 }, (*bench).userns, false},
		{"exec", some, (*bench).exec, true},
		{"burst", some, (*bench).crowd, true},
		{"standing", once, (*bench).standing, true},
		{"logs", some, (*bench).logs, false},
		{"pull", some, (*bench).pull, false},
		{"restart", some, (*bench).restart, false},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// all measures everything, and leaves no pod behind.
func (b *bench) all(ctx context.Context) error {
	for _, s := range b.runtimes {
		for range warmUp {
			l := laps{}
			if err := b.one(ctx, s, false, l); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, p := range parts() {
		if !b.wants(p.name) {
			continue
		}
		fmt.Printf("  … %s\n", p.name)
		for range p.rounds(b) {
			for _, s := range b.runtimes {
				if s.hollow && !p.hollow {
					continue
				}
				if err := p.work(b, ctx, s); err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, p.name, err)
				}
			}
		}
	}
	return nil
}

// one is the life of one pod.
func (b *bench) one(ctx context.Context, s *subject, userns bool, l laps) error {
	made, err := s.up(ctx, b.plan(s, userns), l)
	if err != nil {
		return errors.Join(err, s.down(context.WithoutCancel(ctx), made, laps{}))
	}
	return s.down(ctx, made, l)
}

func (b *bench) life(ctx context.Context, s *subject) error {
	l, busy := laps{}, s.cpu()
	if err := b.one(ctx, s, false, l); err != nil {
		return err
	}
	r := &b.results
	r.time(s, podCPU, s.cpu()-busy)
	r.time(s, podUp, l.sum(runPod, createContainer, startContainer))
	r.time(s, podDown, l.sum(stopContainer, removeContainer, stopPod, removePod))
	for what, took := range l {
		r.time(s, metric("  "+what), took)
	}
	if s.chain == "" {
		return nil
	}
	up, down, err := b.plugins(ctx, s)
	if err != nil {
		return fmt.Errorf("plugins: %w", err)
	}
	r.time(s, podUpPlugins, up)
	r.time(s, podUpRest, l.sum(runPod, createContainer, startContainer)-up)
	r.time(s, podDownPlugins, down)
	return nil
}

func (b *bench) userns(ctx context.Context, s *subject) error {
	if !s.userns {
		return nil
	}
	l := laps{}
	if err := b.one(ctx, s, true, l); err != nil {
		return err
	}
	b.results.time(s, usernsUp, l.sum(runPod, createContainer, startContainer))
	b.results.time(s, usernsDown, l.sum(stopContainer, removeContainer, stopPod, removePod))
	return nil
}

// crew runs n pods, some at once, for work with them, and removes them. up, if not nil, is told of each.
func (b *bench) crew(ctx context.Context, s *subject, n int, up func(i int, took time.Duration), work func([]pod) error) (err error) {
	pods, plans := make([]pod, n), make([]plan, n)
	for i := range plans {
		plans[i] = b.plan(s, false)
	}
	defer func() {
		err = errors.Join(err, sideBySide(n, width, func(i int) error { return s.down(context.WithoutCancel(ctx), pods[i], laps{}) }))
	}()
	at := width
	if up != nil {
		at = 1
	}
	err = sideBySide(n, at, func(i int) error {
		l := laps{}
		var err error
		pods[i], err = s.up(ctx, plans[i], l)
		if up != nil {
			up(i, l.sum(runPod, createContainer, startContainer))
		}
		return err
	})
	if err != nil {
		return err
	}
	return work(pods)
}

func (b *bench) exec(ctx context.Context, s *subject) error {
	return b.crew(ctx, s, width, nil, func(pods []pod) error {
		busy := s.cpu()
		for range execs {
			took, err := timed(func() error { return s.exec(ctx, pods[0].container) })
			if err != nil {
				return err
			}
			b.results.time(s, execTime, took)
		}
		b.results.time(s, execCPU, (s.cpu()-busy)/execs)
		took, err := timed(func() error {
			return sideBySide(burstExecs, width, func(i int) error { return s.exec(ctx, pods[i%len(pods)].container) })
		})
		b.results.add(s, execRate, burstExecs/took.Seconds())
		return err
	})
}

// crowd is a burst of pods.
func (b *bench) crowd(ctx context.Context, s *subject) error {
	start, busy := time.Now(), s.cpu()
	return b.crew(ctx, s, b.burst, nil, func([]pod) error {
		b.results.add(s, burstRate, float64(b.burst)/time.Since(start).Seconds())
		b.results.time(s, burstCPU, (s.cpu()-busy)/time.Duration(b.burst))
		return nil
	})
}
