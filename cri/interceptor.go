package cri

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mutations are logged at Info, all others at Debug. ExecSync is among the others: probes call
// it all the time.
var mutations = map[string]bool{
	"RunPodSandbox": true, "StopPodSandbox": true, "RemovePodSandbox": true,
	"CreateContainer": true, "StartContainer": true, "StopContainer": true, "RemoveContainer": true,
	"UpdateContainerResources": true, "UpdatePodSandboxResources": true, "UpdateRuntimeConfig": true,
	"CheckpointContainer": true, "CheckpointPod": true, "RestorePod": true,
	"PullImage": true, "RemoveImage": true,
}

// lateness is how long after its deadline an RPC may still answer: with what it knows, instead of that it is late.
const lateness = 50 * time.Millisecond

// unary wraps a simple RPC: one log line at its end, its error mapped, its panic survived, its deadline kept.
func unary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		call := call{log: log, op: operation(info.FullMethod), start: time.Now()}
		resp, err := punctual(ctx, func() (resp any, err error) {
			defer func() {
				if p := recover(); p != nil {
					resp, err = nil, call.panicked(p)
				}
			}()
			return handle(ctx, req)
		})
		err = wireError(err)
		call.end(ctx, err, req, resp)
		return resp, err
	}
}

// punctual runs f, and waits for it until ctx ends and a moment longer. No f waits for longer by itself, but a system
// call may: a file system that does not answer cannot be left (signal(7)). What f has begun it goes on with.
func punctual(ctx context.Context, f func() (any, error)) (any, error) {
	type answer struct {
		resp any
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // ends with f
		resp, err := f()
		answered <- answer{resp, err}
	}()
	select {
	case a := <-answered:
		return a.resp, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(lateness)
	defer late.Stop()
	select {
	case a := <-answered:
		return a.resp, a.err
	case <-late.C:
		return nil, ctx.Err()
	}
}

// stream wraps a streaming RPC likewise. Its request is not seen here, so its line has no ids. Nothing keeps its
// deadline but its context: what is sent is in memory, or comes from cgroups and rtnetlink, which do not hang, and a Send to
// who does not read ends with the context, as waiting for an event does.
func stream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
		call := call{log: log, op: operation(info.FullMethod), start: time.Now()}
		defer func() {
			if p := recover(); p != nil {
				err = call.panicked(p)
			}
			err = wireError(err)
			call.end(ss.Context(), err)
		}()
		return handle(srv, ss)
	}
}

// call is one RPC under way.
type call struct {
	log   *slog.Logger
	op    string
	start time.Time
}

// panicked turns a panic into an error. The stack goes to the log, not to the client.
func (c call) panicked(p any) error {
	c.log.Error("rpc panicked", "op", c.op, "panic", p, "stack", string(debug.Stack()))
	return status.Errorf(codes.Internal, "%s: panic: %v", c.op, p)
}

// end logs the RPC's line. Only ids and names of the messages are shown, never a request: it may hold secrets.
func (c call) end(ctx context.Context, err error, messages ...any) {
	level := level(c.op, err)
	if !c.log.Enabled(ctx, level) { // a kubelet asks hundreds of questions a second
		return
	}
	attrs := []any{"op", c.op, "dur", time.Since(c.start)}
	for _, m := range messages {
		attrs = append(attrs, named(m)...)
	}
	if err != nil {
		attrs = append(attrs, "code", status.Code(err).String(), "err", status.Convert(err).Message())
	}
	c.log.Log(ctx, level, "rpc", attrs...)
}

// level is how much an RPC's end matters to an operator.
func level(op string, err error) slog.Level {
	switch code := status.Code(err); {
	case code == codes.Internal || code == codes.DataLoss:
		return slog.LevelError
	case mutations[op] && code != codes.OK:
		return slog.LevelWarn
	case mutations[op]:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func operation(fullMethod string) string {
	return fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
}

// named lists the ids and names that a request or response carries.
func named(message any) []any {
	var out []any
	add := func(key, value string) {
		if value != "" {
			out = append(out, key, value)
		}
	}
	if m, ok := message.(interface{ GetPodSandboxId() string }); ok {
		add("pod", m.GetPodSandboxId())
	}
	if m, ok := message.(interface{ GetContainerId() string }); ok {
		add("container", m.GetContainerId())
	}
	switch m := message.(type) {
	case *runtime.RunPodSandboxRequest:
		add("name", m.GetConfig().GetMetadata().GetName())
		add("namespace", m.GetConfig().GetMetadata().GetNamespace())
		add("uid", m.GetConfig().GetMetadata().GetUid())
	case *runtime.CreateContainerRequest:
		add("name", m.GetConfig().GetMetadata().GetName())
		add("image", m.GetConfig().GetImage().GetImage())
	case interface{ GetImage() *runtime.ImageSpec }:
		add("image", m.GetImage().GetImage())
	}
	return out
}
