package trace

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// closeTimeout is how long Close waits for the collector to take what is left.
const closeTimeout = 2 * time.Second

// Options say what becomes of what is recorded.
type Options struct {
	Endpoint string  // HOST:PORT of an OTLP collector, gRPC without TLS; empty: none
	Ratio    float64 // of operations that are recorded, 0 to 1; those of a caller that records them are in any case
	Keep     int     // of the last operations that are kept for Trees
	Version  string  // the daemon's
}

// Tracer records operations.
type Tracer struct {
	provider *sdk.TracerProvider
	kept     *kept
}

// Open starts to record; nil if the options ask for nothing. Nobody answering at the endpoint is no error: what is
// recorded is then dropped. The caller closes the Tracer.
func Open(ctx context.Context, o Options) (*Tracer, error) {
	if o.Endpoint == "" && o.Keep == 0 {
		return nil, nil
	}
	options := []sdk.TracerProviderOption{
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Ratio))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", scope), attribute.String("service.version", o.Version))),
	}
	t := &Tracer{}
	if o.Keep > 0 {
		t.kept = newKept(o.Keep)
		options = append(options, sdk.WithSpanProcessor(t.kept))
	}
	if o.Endpoint != "" {
		exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(o.Endpoint), otlptracegrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("trace exporter to %s: %w", o.Endpoint, err)
		}
		options = append(options, sdk.WithBatcher(exporter))
	}
	t.provider = sdk.NewTracerProvider(options...)
	otel.SetTracerProvider(t.provider) // containerd's packages record the steps of a pull
	return t, nil
}

// Close sends what is left. A nil Tracer has nothing.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // a collector that is not there has been no error before
	return nil
}

// Carrier is where a caller's trace context may be in: the metadata of a request.
type Carrier = propagation.TextMapCarrier

// Operation begins an operation, as a part of the caller's trace if it names one (W3C Trace Context).
func (t *Tracer) Operation(ctx context.Context, name string, from Carrier) (context.Context, Operation) {
	ctx = propagation.TraceContext{}.Extract(ctx, from)
	ctx, span := t.provider.Tracer(scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, Operation{Step{span}}
}

// Operation is the outermost step.
type Operation struct{ Step }

// About notes what the operation is about: keys and values in turn, as package slog takes them.
func (o Operation) About(pairs ...any) {
	for i := 0; i+1 < len(pairs); i += 2 {
		o.span.SetAttributes(attribute.String(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1])))
	}
}
