package images

import (
	"context"
	"io"
	"log/slog"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// withLogger sends what containerd's packages log under ctx to l. They write no credentials:
// requests are logged without the authorization header, URLs without their query.
func withLogger(ctx context.Context, l *slog.Logger) context.Context {
	to := logrus.New()
	to.SetOutput(io.Discard)
	to.SetLevel(logrus.InfoLevel)
	if l.Enabled(ctx, slog.LevelDebug) {
		to.SetLevel(logrus.DebugLevel)
	}
	to.AddHook(bridge{l})
	return log.WithLogger(ctx, logrus.NewEntry(to))
}

// bridge is a logrus hook that repeats every entry in slog.
type bridge struct{ to *slog.Logger }

func (bridge) Levels() []logrus.Level { return logrus.AllLevels }

func (b bridge) Fire(e *logrus.Entry) error {
	// What containerd calls information is detail of one pull here.
	level := slog.LevelDebug
	if e.Level <= logrus.WarnLevel {
		level = slog.LevelWarn
	}
	attrs := make([]slog.Attr, 0, len(e.Data))
	for k, v := range e.Data {
		attrs = append(attrs, slog.Any(k, v))
	}
	b.to.LogAttrs(context.Background(), level, e.Message, attrs...) // a line has no deadline
	return nil
}
