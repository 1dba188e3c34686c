package nri

import (
	"log/slog"
	"path/filepath"
	"testing"

	"tare/spec"
	"tare/store"
)

// start starts what admits plugins of which there are none, and lets the library find that out.
func start(t testing.TB) *Plugins {
	t.Helper()
	dir := t.TempDir()
	s, _, err := store.Open(filepath.Join(dir, "pods"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p := &Plugins{}
	o := Options{Socket: filepath.Join(dir, "nri.sock"), PluginDir: filepath.Join(dir, "none"), ConfigDir: filepath.Join(dir, "none")}
	if err := p.Start(o, s, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.RunPod(t.Context(), &store.Pod{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWithoutPlugins: a node without plugins pays nothing for the events there could be.
func TestWithoutPlugins(t *testing.T) {
	p := start(t)
	if p.Active() {
		t.Error("after the first event there seem to be plugins")
	}
	pod, c, limits := &store.Pod{}, &store.Container{}, &spec.Resources{}
	n := testing.AllocsPerRun(100, func() {
		if a, answer, err := p.Create(t.Context(), pod, c); a != nil || !answer.Empty() || err != nil {
			t.Errorf("adjustment %v, answer %v, %v", a, answer, err)
		}
		if err := p.StartContainer(t.Context(), pod, c); err != nil {
			t.Error(err)
		}
		if got, _, err := p.Update(t.Context(), pod, c, limits); got != limits || err != nil {
			t.Errorf("limits %v, %v", got, err)
		}
		if _, err := p.StopContainer(t.Context(), pod, c); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("four events without a plugin take %v allocations", n)
	}
}

// BenchmarkWithoutPlugins is one event, and one with plugins kept from connecting meanwhile.
func BenchmarkWithoutPlugins(b *testing.B) {
	p, pod := start(b), &store.Pod{}
	tell := func(b *testing.B) {
		if err := p.RunPod(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("event", func(b *testing.B) {
		for b.Loop() {
			tell(b)
		}
	})
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			release := p.Hold()
			tell(b)
			release()
		}
	})
}
