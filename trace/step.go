package trace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation, which collectors show.
const scope = "tare"

// Step is a span under way. The zero value records nothing.
type Step struct{ span trace.Span }

// Start begins a step of the operation that ctx is of, if that is recorded. It is for the steps of the step that the
// returned context is passed on.
func Start(ctx context.Context, name string) (context.Context, Step) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Step{}
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, Step{span}
}

// End ends the step, with the error err points to; nil: it cannot fail.
func (s Step) End(err *error) {
	if s.span == nil {
		return
	}
	if err != nil && *err != nil {
		s.span.SetStatus(codes.Error, (*err).Error())
	}
	s.span.End()
}

// Recording says whether the operation that ctx is of is recorded.
func Recording(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Past records a step that is over.
func Past(ctx context.Context, name string, from, to time.Time) {
	parent := trace.SpanFromContext(ctx)
	if parent.IsRecording() {
		_, span := parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithTimestamp(from))
		span.End(trace.WithTimestamp(to))
	}
}
