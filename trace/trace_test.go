package trace

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
)

// TestTrees records operations, one with steps in steps and an error, and more than are kept.
func TestTrees(t *testing.T) {
	tracer, err := Open(t.Context(), Options{Keep: 3, Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	for i := range 5 {
		ctx, op := tracer.Operation(t.Context(), "Start", propagation.MapCarrier{})
		inner, outer := Start(ctx, "outer")
		_, step := Start(inner, "inner")
		failed := errors.New("no room")
		step.End(&failed)
		outer.End(nil)
		Past(ctx, "before", time.Now().Add(-time.Hour), time.Now())
		op.About("pod", fmt.Sprint("p", i), "container", "c")
		op.End(nil)
		outer.End(nil) // too late, and harmless
		_, late := Start(ctx, "late")
		late.End(nil)
	}
	if got := tracer.Trees("p1", "elsewhere"); len(got) != 0 {
		t.Errorf("an operation that others have replaced is kept: %+v", got)
	}
	if got := tracer.Trees("c"); len(got) != 3 || got[0].About["pod"] != "p2" {
		t.Errorf("kept are %+v, want the last three, the oldest first", got)
	}
	trees := tracer.Trees("p4")
	if len(trees) != 1 {
		t.Fatalf("one operation was about p4, got %+v", trees)
	}
	var got []string
	for _, p := range trees[0].Steps {
		got = append(got, fmt.Sprint(p.Depth, p.Name, p.Error))
	}
	if want := "[1before 1outer 2innerno room]"; fmt.Sprint(got) != want {
		t.Errorf("steps %v, want %s", got, want)
	}
}

// TestOff asks for nothing, and gets nothing.
func TestOff(t *testing.T) {
	tracer, err := Open(t.Context(), Options{Ratio: 1})
	if err != nil || tracer != nil {
		t.Fatalf("a tracer without purpose: %v, %v", tracer, err)
	}
	if trees := tracer.Trees("p"); trees != nil {
		t.Errorf("nothing has kept %v", trees)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	ctx, step := Start(t.Context(), "step")
	step.End(nil)
	if Recording(ctx) {
		t.Error("a step of nothing is recorded")
	}
}

// BenchmarkOff is what a step costs that is not recorded.
func BenchmarkOff(b *testing.B) {
	ctx, cancel := context.WithCancel(context.WithValue(b.Context(), new(int), 1))
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		var err error
		_, step := Start(ctx, "step")
		step.End(&err)
	}
}
