package nri

import (
	"context"
	"fmt"
	"log/slog"

	nrilog "github.com/containerd/nri/pkg/log"
)

// logTo has the library's words in the daemon's log: what is of interest to who writes plugins is for the level debug.
func logTo(log *slog.Logger) { nrilog.Set(writer{log.With(slog.String("from", "nri"))}) }

// writer is the library's logger.
type writer struct{ log *slog.Logger }

func (w writer) Debugf(ctx context.Context, format string, args ...any) {
	w.write(ctx, slog.LevelDebug, format, args)
}

func (w writer) Infof(ctx context.Context, format string, args ...any) {
	w.write(ctx, slog.LevelDebug, format, args)
}

func (w writer) Warnf(ctx context.Context, format string, args ...any) {
	w.write(ctx, slog.LevelWarn, format, args)
}

func (w writer) Errorf(ctx context.Context, format string, args ...any) {
	w.write(ctx, slog.LevelWarn, format, args)
}

func (w writer) write(ctx context.Context, level slog.Level, format string, args []any) {
	if w.log.Enabled(ctx, level) {
		w.log.Log(ctx, level, fmt.Sprintf(format, args...))
	}
}
