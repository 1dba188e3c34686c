package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tare/config"
	"tare/crash"
	"tare/lifecycle"
	"tare/store"
)

// rebuildPause is waited before a daemon that lost its keeper starts over, so that a keeper that
// cannot live does not cost a busy loop.
const rebuildPause = 200 * time.Millisecond

// errKeeperLost is why a daemon starts over: the keeper, or the connection to it, is gone.
var errKeeperLost = errors.New("the keeper is gone")

// errReload is why it starts over, too: SIGHUP.
var errReload = errors.New("the configuration was read again")

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

SIGHUP has it read the configuration again, check it, and start over with it in the same
process; one that is not in order is logged and changes nothing. It tells a service
manager how it is (sd_notify); the unit tare.service makes use of that.

Several daemons may run side by side if they differ in --listen, --root and --state,
and in cni.bridge and cni.subnets of their configurations.

Without a configuration file the defaults hold; further files are config.d/*.toml
beside it ("tare config --help"). Without a CNI configuration pods are connected
by the embedded bridge network.`,
		Example: `  tare serve
  tare serve --config /etc/tare/config.toml --log-level debug
  tare serve --listen unix:///tmp/t/tare.sock --root /tmp/t/root --state /tmp/t/state`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), &f)
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
	cfg, _, err := config.Load(f.config)
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
		return nil, fmt.Errorf("--log-level: %q is not one of debug, info, warn, error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

// service is a daemon's life in one process: it may be built several times.
type service struct {
	flags    *serveFlags
	settings settings
	log      *slog.Logger
	notify   *notifier
	hangups  chan os.Signal
	former   *former // to go back to if the daemon cannot be built with what was reloaded
	refused  error   // why the last reload changed nothing, until the next
	served   bool    // the daemon could be built, and is built again for as long as it takes
}

// former is what a reload replaces.
type former struct {
	settings settings
	log      *slog.Logger
}

// serve runs the daemon until ctx ends. A keeper that is lost, is no reason to end: everything
// is built anew, with another keeper. Neither is SIGHUP: everything is built anew with the configuration
// read again.
func serve(ctx context.Context, f *serveFlags) error {
	// Caught, not ignored, which CNI plugins would inherit (execve(2)): the reader of our log
	// may go away, and the daemon lives on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	v := &service{flags: f, hangups: make(chan os.Signal, 1)}
	signal.Notify(v.hangups, syscall.SIGHUP)
	unix.Umask(0o022) // whoever starts us: libraries make directories, plugins inherit it
	var err error
	if v.settings, v.log, err = f.settings(); err != nil {
		return err
	}
	if err := checkPrivileges(); err != nil {
		return err
	}
	if v.notify, err = newNotifier(); err != nil {
		return err
	}
	mine, err := claim(v.settings.State)
	if err != nil {
		return err
	}
	defer mine.release()
	return v.run(ctx, mine)
}

// run builds the daemon and serves, as often as there is reason to.
func (v *service) run(ctx context.Context, mine *instance) error {
	var estate *lifecycle.Estate
	defer func() { estate.Close() }()
	for {
		err := mine.record(v.settings)
		if err == nil {
			estate, err = v.once(ctx, estate)
		}
		switch {
		case errors.Is(err, errReload):
			v.log.Info("starting over with the configuration read again")
			continue
		case errors.Is(err, errKeeperLost):
			v.log.Error("starting over", "err", err)
		case err != nil && v.former != nil:
			v.log.Error("the configuration read again cannot be served, going back to the former", "err", err)
			v.settings, v.log, v.former, v.refused = v.former.settings, v.former.log, nil, err
		case err != nil && v.served && ctx.Err() == nil:
			v.log.Error("starting over did not work, trying again", "err", err)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rebuildPause):
		}
	}
}

// once builds the daemon and serves until ctx ends, the keeper is lost, or the configuration is to be
// another. It takes what the one before left when it lost its keeper, and returns what it leaves itself.
func (v *service) once(ctx context.Context, left *lifecycle.Estate) (estate *lifecycle.Estate, err error) {
	start, s, log := time.Now(), v.settings, v.log // a reload changes v's under what still ends
	d, err := open(ctx, s, log)
	if err != nil {
		return left, err
	}
	recovered := false
	defer func() {
		err = errors.Join(err, d.close())
		estate = d.runtime.Estate()
		switch {
		case !recovered:
			estate.Close()
			estate = left
		case !errors.Is(err, errKeeperLost): // the keeper lives and has it all
			estate.Close()
			estate = nil
		}
	}()
	d.runtime.Inherit(ctx, left)
	crash.Point("recovery.estate-inherited")
	if err := d.recover(ctx); err != nil {
		return nil, d.explain(err)
	}
	recovered = true
	left.Close()
	crash.Point("recovery.done")
	if err := d.startPlugins(); err != nil {
		return nil, err
	}
	server, err := d.server(ctx)
	if err != nil {
		return nil, d.explain(err)
	}
	l, err := listen(s.Listen)
	if err != nil {
		return nil, d.explain(err)
	}
	defer l.Close()
	v.former, v.served = nil, true
	v.log.Info("serving", "listen", s.Listen, "root", s.Root, "state", s.State,
		"version", version, "keeper", d.keeper.Pid(), "dur", time.Since(start))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ends with shutdown
	v.tellReady()
	watched, stop := context.WithCancel(ctx)
	var watchdog sync.WaitGroup
	watchdog.Go(func() { v.notify.watch(watched, s.Listen, log) })
	err = v.wait(ctx, d, served)
	stop()
	watchdog.Wait()
	store.EndSubscriptions(d.store) // a kubelet's stream of events ends by nothing else, and shutdown would wait for it
	shutdown(server)
	return nil, err
}

// wait waits for a reason not to serve any longer.
func (v *service) wait(ctx context.Context, d *daemon, served <-chan error) error {
	for {
		select {
		case err := <-served:
			return err
		case <-d.keeper.Lost():
			v.told(v.notify.status("starting over: %v", errKeeperLost))
			return errKeeperLost
		case <-ctx.Done():
			v.log.Info("stopping, containers go on")
			v.told(v.notify.stopping())
			return nil
		case <-v.hangups:
			v.told(v.notify.reloading())
			err := v.reload()
			if err == nil {
				return errReload
			}
			v.log.Error("reload: the configuration stays as it was", "err", err)
			v.refused = err
			v.tellReady()
		}
	}
}

// reload reads the configuration again, and changes nothing if it is not in order.
func (v *service) reload() error {
	s, log, err := v.flags.settings()
	if err != nil {
		return err
	}
	v.former = &former{v.settings, v.log}
	v.settings, v.log, v.refused = s, log, nil
	return nil
}

// tellReady tells the service manager that the socket is served, and people whether it is with what they last wanted.
func (v *service) tellReady() {
	v.told(v.notify.ready())
	if v.refused != nil {
		v.told(v.notify.status("serving; reload failed: %v", v.refused))
	}
}

// told logs that the service manager could not be told, which is all that can be done.
func (v *service) told(err error) {
	if err != nil {
		v.log.Warn("service manager", "err", err)
	}
}
