package stream

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

var quieten sync.Once

// quiet has the library's log, which is one for the process, written at level debug: it calls an
// error what clients do wrong, and sessions have a line of ours.
func quiet(log *slog.Logger) {
	quieten.Do(func() { klog.SetSlogLogger(slog.New(debugHandler{log.Handler()})) })
}

// debugHandler makes everything a debug message.
type debugHandler struct{ slog.Handler }

// Enabled is slog.Handler's.
func (h debugHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle is slog.Handler's.
func (h debugHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h debugHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup is slog.Handler's.
func (h debugHandler) WithGroup(name string) slog.Handler {
	return debugHandler{h.Handler.WithGroup(name)}
}
