package cri

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"tare/store"
	"tare/trace"
)

// traced records simple RPCs.
func traced(t *trace.Tracer) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
		md, _ := metadata.FromIncomingContext(ctx) // none: no caller's trace
		ctx, op := t.Operation(ctx, operation(info.FullMethod), carrier(md))
		defer func() {
			op.About(append(named(req), named(resp)...)...)
			op.End(&err)
		}()
		return handle(ctx, req)
	}
}

// carrier reads a caller's trace context from a request's metadata.
type carrier metadata.MD

// Get returns the value of a key, or nothing.
func (c carrier) Get(key string) string {
	if values := metadata.MD(c).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set is not for requests.
func (carrier) Set(string, string) {}

// Keys lists what is there.
func (c carrier) Keys() []string { return slices.Collect(maps.Keys(c)) }

// operations are those kept about a pod and its containers.
func (s *Server) operations(p *store.Pod) []trace.Tree {
	ids := []string{string(p.ID)}
	for id := range p.Containers {
		ids = append(ids, string(id))
	}
	return s.deps.Tracer.Trees(ids...)
}
