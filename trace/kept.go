package trace

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxSteps bounds what is kept of one operation.
const maxSteps = 500

// Tree is an operation that is over, with its steps in the order in which they began.
type Tree struct {
	Name  string            `json:"name"`
	Begin time.Time         `json:"begin"`
	Took  time.Duration     `json:"took_ns"`
	Error string            `json:"error,omitempty"`
	About map[string]string `json:"about,omitempty"`
	Steps []Part            `json:"steps,omitempty"`
}

// Part is a step of an operation.
type Part struct {
	Name  string        `json:"name"`
	Depth int           `json:"depth"` // 1: a step of the operation, 2: a step of that …
	After time.Duration `json:"after_ns"`
	Took  time.Duration `json:"took_ns"`
	Error string        `json:"error,omitempty"`
}

// kept keeps the last operations. It is a sdk.SpanProcessor.
type kept struct {
	mu      sync.Mutex
	running map[trace.SpanID]*place // spans of operations under way
	trees   []*Tree                 // the oldest first
	most    int
}

// place is where a span belongs.
type place struct {
	tree  *Tree
	depth int
}

func newKept(most int) *kept { return &kept{running: map[trace.SpanID]*place{}, most: most} }

// OnStart finds the operation of a span; one whose parent is not here begins its own.
func (k *kept) OnStart(_ context.Context, s sdk.ReadWriteSpan) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &place{}
	if up := k.running[s.Parent().SpanID()]; up != nil {
		p.tree, p.depth = up.tree, up.depth+1
	} else if s.SpanKind() == trace.SpanKindServer {
		p.tree = &Tree{Name: s.Name(), Begin: s.StartTime()}
	} else {
		return // of an operation that is over, or of none
	}
	k.running[s.SpanContext().SpanID()] = p
}

// OnEnd enters a span into its operation, and an operation that is over among those kept.
func (k *kept) OnEnd(s sdk.ReadOnlySpan) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := s.SpanContext().SpanID()
	p := k.running[id]
	if p == nil {
		return
	}
	delete(k.running, id)
	took := s.EndTime().Sub(s.StartTime())
	if p.depth > 0 {
		if len(p.tree.Steps) < maxSteps {
			p.tree.Steps = append(p.tree.Steps, Part{s.Name(), p.depth, s.StartTime().Sub(p.tree.Begin), took, s.Status().Description})
		}
		return
	}
	p.tree.Took, p.tree.Error, p.tree.About = took, s.Status().Description, texts(s.Attributes())
	slices.SortStableFunc(p.tree.Steps, func(a, b Part) int { return int(a.After - b.After) })
	if len(k.trees) == k.most {
		k.trees = slices.Delete(k.trees, 0, 1)
	}
	k.trees = append(k.trees, p.tree)
}

func texts(attributes []attribute.KeyValue) map[string]string {
	out := make(map[string]string, len(attributes))
	for _, a := range attributes {
		out[string(a.Key)] = a.Value.String()
	}
	return out
}

// Shutdown has nothing to do.
func (k *kept) Shutdown(context.Context) error { return nil }

// ForceFlush neither.
func (k *kept) ForceFlush(context.Context) error { return nil }

// Trees are the operations kept that are about one of these ids, the oldest first.
func (t *Tracer) Trees(ids ...string) []Tree {
	if t == nil || t.kept == nil {
		return nil
	}
	t.kept.mu.Lock()
	defer t.kept.mu.Unlock()
	var out []Tree
	for _, tree := range t.kept.trees {
		if slices.Contains(ids, tree.About["pod"]) || slices.Contains(ids, tree.About["container"]) {
			out = append(out, *tree)
		}
	}
	return out
}
