package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	warmUp     = 5  // pods before the first that counts
	width      = 10 // at once, in bursts
	execs      = 200
	burstExecs = 600
)

// all measures everything, and leaves no pod behind.
func (b *bench) all(ctx context.Context) error {
	if err := b.lives(ctx, warmUp, false, func(up, down []time.Duration) {}); err != nil {
		return err
	}
	err := b.lives(ctx, b.rounds, false, func(up, down []time.Duration) {
		b.table.times("pod up: run, create, start", "≤ 5 ms", up)
		b.table.times("pod down: stop, remove", "≤ 8 ms", down)
	})
	if err != nil {
		return err
	}
	err = b.lives(ctx, b.rounds, true, func(up, down []time.Duration) {
		b.table.times("pod up, user namespace", "≤ 6 ms", up)
		b.table.times("pod down, user namespace", "", down)
	})
	if err != nil {
		return err
	}
	return b.crowd(ctx)
}

// lives runs pods one after the other and removes each.
func (b *bench) lives(ctx context.Context, n int, userns bool, report func(up, down []time.Duration)) error {
	var up, down []time.Duration
	for range n {
		p := b.plan(userns)
		var made pod
		took, err := timed(func() (err error) { made, err = b.up(ctx, p); return err })
		if err != nil {
			return errors.Join(err, b.down(context.WithoutCancel(ctx), made))
		}
		up = append(up, took)
		if took, err = timed(func() error { return b.down(ctx, made) }); err != nil {
			return err
		}
		down = append(down, took)
	}
	report(up, down)
	return nil
}

// crowd runs many pods at once and measures what they cost while they are there.
func (b *bench) crowd(ctx context.Context) (err error) {
	mounts, base := countMounts(), b.runtime.find()
	pods, plans := make([]pod, b.pods), make([]plan, b.pods)
	for i := range plans {
		plans[i] = b.plan(false)
	}
	defer func() {
		_, derr := sideBySide(len(pods), width, func(i int) error { return b.down(context.WithoutCancel(ctx), pods[i]) })
		err = errors.Join(err, derr)
	}()
	var times []time.Duration
	took, err := timed(func() (err error) {
		times, err = sideBySide(b.pods, width, func(i int) (err error) { pods[i], err = b.up(ctx, plans[i]); return err })
		return err
	})
	if err != nil {
		return err
	}
	b.table.value(fmt.Sprintf("burst: %d pods, %d at once", b.pods, width), "≥ 200 pods/s", "%.0f pods/s", float64(b.pods)/took.Seconds())
	b.table.times("  each of them", "", times)
	if err := b.execs(ctx, pods); err != nil {
		return err
	}
	return b.standing(ctx, pods, mounts, base)
}

// execs measures ExecSync, one after the other and at once.
func (b *bench) execs(ctx context.Context, pods []pod) error {
	times, err := sideBySide(execs, 1, func(int) error { return b.exec(ctx, pods[0].container) })
	if err != nil {
		return err
	}
	b.table.times("ExecSync true", "≤ 1.5 ms", times)
	took, err := timed(func() (err error) {
		times, err = sideBySide(burstExecs, width, func(i int) error { return b.exec(ctx, pods[i%len(pods)].container) })
		return err
	})
	b.table.value(fmt.Sprintf("ExecSync, %d at once", width), "≥ 1200 /s", "%.0f /s", burstExecs/took.Seconds())
	b.table.times("  each of them", "", times)
	return err
}

// standing measures what pods cost that do nothing.
func (b *bench) standing(ctx context.Context, pods []pod, mounts int, base []int) error {
	n := float64(len(pods))
	now := b.runtime.find()
	b.table.value(fmt.Sprintf("memory of the runtime, %d pods (PSS)", len(pods)), "≤ 80 MiB", "%.1f MiB", float64(pss(now))/(1<<20))
	b.table.value("host mounts per pod", "≤ 1", "%.2f", float64(countMounts()-mounts)/n)

	busy, own := machineCPU(), cpu(now)
	select {
	case <-time.After(b.idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.table.value(fmt.Sprintf("CPU of the runtime, idle for %s", b.idle), "≤ 20 ms", "%.1f ms", float64((cpu(now)-own).Microseconds())/1000)
	b.table.value("  of the whole machine", "", "%d ms", (machineCPU() - busy).Milliseconds())
	if b.private == nil {
		b.table.value("runtime processes per pod", "0", "%.2f", float64(len(now)-len(base))/n)
		return nil
	}
	return b.strangers(ctx, pods)
}

// strangers looks for processes of the runtime beyond daemon, keeper and the containers' own.
func (b *bench) strangers(ctx context.Context, pods []pod) error {
	known := slices.Clone(b.runtime.pids)
	for _, p := range pods {
		pid, err := b.cri.ContainerPid(ctx, p.container)
		if err != nil {
			return err
		}
		known = append(known, pid)
	}
	found := slices.DeleteFunc(descendants(b.runtime.pids), func(pid int) bool { return slices.Contains(known, pid) })
	b.table.value("runtime processes per pod", "0", "%.2f", float64(len(found))/float64(len(pods)))
	if len(found) > 0 {
		return fmt.Errorf("%d processes beyond daemon, keeper and the containers' own: %s", len(found), describe(found))
	}
	return nil
}
