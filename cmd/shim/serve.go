package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tare/config"
	"tare/lifecycle"
)

// rebuildPause is waited before a daemon that lost its keeper starts over, so that a keeper that
// cannot live does not cost a busy loop.
const rebuildPause = 200 * time.Millisecond

// errKeeperLost is why a daemon starts over: the keeper, or the connection to it, is gone.
var errKeeperLost = errors.New("the keeper is gone")

// serveFlags are the command line of serve.
type serveFlags struct {
	listen, root, state, config, keeper, logLevel string
}

func serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground, logging to standard error.

SIGTERM or SIGINT ends it and leaves the containers running: the keeper holds them,
writes their logs and notes how they end until a daemon with the same state
directory is back. "tare stop --all" ends everything.

Several daemons may run side by side if they differ in --listen, --root and --state,
and in cni.bridge and cni.subnets of their configurations.

Without a configuration file the defaults hold; without a CNI configuration pods
are connected by the embedded bridge network.`,
		Example: `  tare serve
  tare serve --config /etc/tare/config.toml --log-level debug
  tare serve --listen unix:///tmp/t/tare.sock --root /tmp/t/root --state /tmp/t/state`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, log, err := f.settings()
			if err != nil {
				return err
			}
			return serve(c.Context(), s, log)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", defaultListen, "socket of the CRI, unix:///PATH")
	fl.StringVar(&f.root, "root", defaultRoot, "directory of images, writable layers and address leases")
	fl.StringVar(&f.state, "state", defaultState, "directory of what belongs to this boot; names the daemon")
	fl.StringVar(&f.config, "config", "", "configuration file (default "+config.DefaultPath+", if it exists)")
	fl.StringVar(&f.keeper, "keeper", "", "keeper executable (default: the one beside this program)")
	fl.StringVar(&f.logLevel, "log-level", "", "debug, info, warn or error; overrides log.level of the configuration")
	return c
}

// settings reads the configuration and returns what to run with, and the log.
func (f *serveFlags) settings() (settings, *slog.Logger, error) {
	cfg, err := config.Load(f.config)
	if err != nil {
		return settings{}, nil, err
	}
	log, err := newLog(cmp.Or(f.logLevel, cfg.Log.Level))
	if err != nil {
		return settings{}, nil, err
	}
	keeper, err := keeperBinary(f.keeper)
	if err != nil {
		return settings{}, nil, err
	}
	path, err := socketPath(f.listen)
	if err != nil {
		return settings{}, nil, err
	}
	s := settings{Listen: "unix://" + path, Root: f.root, State: f.state, Config: cfg, keeper: keeper}
	return s, log, absolute(&s.Root, &s.State)
}

// newLog writes text to standard error.
func newLog(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, errors.New("--log-level: " + err.Error())
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

// serve runs the daemon until ctx ends. A keeper that is lost, is no reason to end: everything
// is built anew, with another keeper.
func serve(ctx context.Context, s settings, log *slog.Logger) error {
	// Caught, not ignored, which CNI plugins would inherit (execve(2)): the reader of our log
	// may go away, and the daemon lives on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	mine, err := claim(s.State)
	if err != nil {
		return err
	}
	defer mine.release()
	if err := mine.record(s); err != nil {
		return err
	}
	var estate *lifecycle.Estate
	defer func() { estate.Close() }()
	for {
		var err error
		estate, err = serveOnce(ctx, s, log, estate)
		if !errors.Is(err, errKeeperLost) {
			return err
		}
		log.Error("starting over", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rebuildPause):
		}
	}
}

// serveOnce builds the daemon and serves until ctx ends or the keeper is lost. It takes what the
// one before left when it lost its keeper, and returns what it leaves itself.
func serveOnce(ctx context.Context, s settings, log *slog.Logger, left *lifecycle.Estate) (estate *lifecycle.Estate, err error) {
	start := time.Now()
	d, err := open(ctx, s, log)
	if err != nil {
		return left, err
	}
	defer func() {
		err = errors.Join(err, d.close())
		estate = d.runtime.Estate()
	}()
	d.runtime.Inherit(ctx, left)
	if err := d.recover(ctx); err != nil {
		return nil, err
	}
	server, err := d.server(ctx)
	if err != nil {
		return nil, err
	}
	l, err := listen(s.Listen)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	log.Info("serving", "listen", s.Listen, "root", s.Root, "state", s.State,
		"version", version, "keeper", d.keeper.Pid(), "dur", time.Since(start))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ends with shutdown
	select {
	case err = <-served:
	case <-d.keeper.Lost():
		err = errKeeperLost
	case <-ctx.Done():
		log.Info("stopping, containers go on")
	}
	shutdown(server)
	return nil, err
}
