package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// watch keeps the service manager's watchdog quiet as long as the daemon answers on its own socket, until
// ctx ends. A daemon that does not is ended with SIGABRT, whose stacks are in the journal then, and started again
// (systemd.service(5), WatchdogSec=); containers do not notice.
func (n *notifier) watch(ctx context.Context, listen string, log *slog.Logger) {
	if n.watchdog == 0 {
		return
	}
	conn, err := dial(listen)
	if err != nil {
		log.Error("watchdog", "err", err)
		return
	}
	defer conn.Close()
	ticker := time.NewTicker(n.watchdog / 3) // one may be late
	defer ticker.Stop()
	for {
		err := answers(ctx, runtime.NewRuntimeServiceClient(conn), n.watchdog/3)
		if err == nil {
			err = n.alive()
		}
		if err != nil && ctx.Err() == nil {
			log.Error("watchdog", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// answers asks what costs nothing but the way through socket, server and handler.
func answers(ctx context.Context, c runtime.RuntimeServiceClient, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := c.Version(ctx, &runtime.VersionRequest{}); err != nil {
		return fmt.Errorf("own socket: %w", err)
	}
	return nil
}
