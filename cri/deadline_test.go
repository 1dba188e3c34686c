package cri

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An RPC that hangs where nothing can be cancelled ends at its deadline all the same, and one that has an answer
// then is heard.
func TestPunctual(t *testing.T) {
	for name, tt := range map[string]struct {
		handle func(ctx context.Context, hang <-chan struct{}) (any, error)
		code   codes.Code
		late   time.Duration
	}{
		"hangs": {func(_ context.Context, hang <-chan struct{}) (any, error) { <-hang; return nil, nil }, codes.DeadlineExceeded, lateness},
		"answers": {func(ctx context.Context, _ <-chan struct{}) (any, error) {
			<-ctx.Done()
			return nil, status.Error(codes.Aborted, "x")
		}, codes.Aborted, 0},
		"panics at the end": {func(ctx context.Context, _ <-chan struct{}) (any, error) { <-ctx.Done(); panic("x") }, codes.Internal, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				defer close(hang)
				const patience = 50 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				start := time.Now()
				info := &grpc.UnaryServerInfo{FullMethod: "/runtime.v1.RuntimeService/StartContainer"}
				_, err := unary(slog.New(slog.DiscardHandler))(ctx, nil, info, func(ctx context.Context, _ any) (any, error) { return tt.handle(ctx, hang) })
				if status.Code(err) != tt.code {
					t.Errorf("%v, want %s", err, tt.code)
				}
				if took := time.Since(start); took != patience+tt.late {
					t.Errorf("took %s, want %s", took, patience+tt.late)
				}
			})
		})
	}
}
