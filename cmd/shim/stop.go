package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tare/nri"
	"tare/nsutil"
)

const (
	// daemonPatience is how long a daemon may take to end; it ends calls under way after
	// shutdownPatience.
	daemonPatience = 30 * time.Second
	// stopAllPatience is how long all else of "stop --all" may take.
	stopAllPatience = 3 * time.Minute
	// stopAtOnce is how many pods are removed side by side.
	stopAtOnce = 8
)

func stopCommand() *cobra.Command {
	var state, keeper string
	var all bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon; with --all also pods and keeper",
		Long: `Stop the daemon of a state directory. Containers run on under the keeper.

With --all, everything goes: pods, containers, the daemon, the keeper, the embedded
network's bridge and rules, and the state directory. It works likewise when the
daemon, the keeper or both have died. Images stay, below --root of the daemon.

The daemon of a service of systemd is started again: stop the service first.`,
		Example: `  tare stop                       end the daemon, as an upgrade does
  tare stop --all                 end everything
  tare stop --all --state /tmp/t/state`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := absolute(&state); err != nil {
				return err
			}
			if all {
				return stopAll(c.Context(), state, keeper, c.OutOrStdout())
			}
			daemon, err := endDaemon(state, daemonPatience)
			if err == nil && daemon.pid == 0 {
				fmt.Fprintf(c.OutOrStdout(), "no daemon runs with %s\n", state)
			}
			daemon.remark(c.OutOrStdout())
			return err
		},
	}
	fl := c.Flags()
	fl.BoolVar(&all, "all", false, "end pods and keeper too, and leave nothing")
	fl.StringVar(&state, "state", defaultState, "state directory of the daemon")
	fl.StringVar(&keeper, "keeper", "", "keeper executable (default: the one beside this program)")
	return c
}

// stopAll ends the daemon, then removes what it had, in this process and by the daemon's own
// code: so that it makes no difference what was alive and what was not.
func stopAll(ctx context.Context, state, keeper string, out io.Writer) error {
	daemon, err := endDaemon(state, daemonPatience)
	if err != nil {
		return err
	}
	defer daemon.remark(out)
	s, err := recorded(state)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "nothing to stop in %s\n", state)
		return nil
	}
	if err != nil {
		return err
	}
	if s.keeper, err = keeperBinary(keeper); err != nil {
		return err
	}
	mine, err := claim(state)
	if err != nil {
		return err
	}
	pods, err := removeAll(ctx, s)
	if err != nil {
		return errors.Join(fmt.Errorf("stop all of %s: %w", state, err), mine.release())
	}
	if daemon.pid != 0 {
		fmt.Fprintf(out, "stopped daemon %d, ", daemon.pid)
	}
	fmt.Fprintf(out, "removed %d pods, the keeper, and what they left\n", pods)
	var sweepErr error
	if s.Config.NRI.Enabled {
		sweepErr = nri.Sweep(s.Config.NRI.SocketPath)
	}
	return errors.Join(removeSocket(s.Listen), sweepErr, mine.clear())
}

// remark says what people may not expect.
func (e ended) remark(out io.Writer) {
	if e.unit != "" {
		fmt.Fprintf(out, "systemd starts another daemon for %s: systemctl stop %[1]s, before this, has none start\n", e.unit)
	}
}

// removeAll removes pods, network and keeper of a daemon that does not run, and returns how many
// pods there were. Every step is tried whatever became of the others.
func removeAll(ctx context.Context, s settings) (pods int, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopAllPatience)
	defer cancel()
	log, err := newLog("error")
	if err != nil {
		return 0, err
	}
	d, err := open(ctx, s, log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	pods = len(d.store.Pods()) + len(d.broken)
	if err := d.recover(ctx); err != nil {
		return pods, err
	}
	return pods, errors.Join(d.removePods(ctx), d.network.Teardown(ctx), d.endKeeper(ctx))
}

// keeperPatience is how long a keeper may take to end once it has let go of its socket.
const keeperPatience = 5 * time.Second

// endKeeper stops the keeper and waits until its process has ended.
func (d *daemon) endKeeper(ctx context.Context) error {
	handle, err := nsutil.PidfdOpen(d.keeper.Pid())
	if err != nil {
		return fmt.Errorf("stop keeper: %w", err)
	}
	defer handle.Close()
	if err := d.keeper.Stop(ctx, true); err != nil {
		return err
	}
	return awaitEnd(handle, keeperPatience, fmt.Sprintf("the keeper (pid %d)", d.keeper.Pid()))
}

// removePods removes every pod, a few at once.
func (d *daemon) removePods(ctx context.Context) error {
	var wg sync.WaitGroup
	all := d.store.Pods()
	errs := make([]error, len(all))
	slots := make(chan struct{}, stopAtOnce)
	for i, p := range all {
		slots <- struct{}{}
		wg.Go(func() { // ends with the pod
			errs[i] = d.runtime.RemovePod(ctx, p.ID)
			<-slots
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
