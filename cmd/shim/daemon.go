package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"

	"tare/cgroup"
	"tare/cni"
	"tare/container"
	"tare/cri"
	"tare/images"
	"tare/keeper"
	"tare/lifecycle"
	"tare/nri"
	"tare/oci"
	"tare/stats"
	"tare/store"
	"tare/stream"
	"tare/trace"
)

// recordsDir is the directory of the pods' records below the state directory.
const recordsDir = "pods"

// daemon is every part of a running daemon, built once and in order.
type daemon struct {
	settings settings
	log      *slog.Logger
	store    *store.Store
	broken   []store.Broken
	keeper   *keeper.Client
	exits    *exits
	cgroups  *cgroup.Tree
	images   *images.Store
	network  *cni.Network
	runtimes []*oci.Runtime
	runtime  *lifecycle.Runtime
	stats    *stats.Collector
	plugins  *nri.Plugins
	tracer   *trace.Tracer  // nil: nothing is recorded
	closers  []func() error // one for each part, in the order of opening
}

// open builds the parts. Preconditions: the state directory is claimed. The caller closes the
// daemon, which leaves containers and keeper running.
func open(ctx context.Context, s settings, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{settings: s, log: log, exits: newExits(), plugins: &nri.Plugins{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	c := s.Config.Tracing
	if d.tracer, err = trace.Open(ctx, trace.Options{Endpoint: c.Endpoint, Ratio: c.SamplingRatio, Keep: c.Keep, Version: version}); err != nil {
		return nil, err
	}
	d.onClose(d.tracer.Close)
	if d.store, d.broken, err = store.Open(filepath.Join(s.State, recordsDir)); err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	d.onClose(func() error { d.store.Close(); return nil })
	d.keeper, err = keeper.Connect(ctx, keeper.Options{StateDir: s.State, Binary: s.keeper, Exited: d.exits.deliver, Log: log})
	if err != nil {
		return nil, err
	}
	d.onClose(d.leaveKeeper)
	if d.cgroups, err = cgroup.Open(ctx, cgroupDriver(s.Config.Cgroup.Driver), s.Config.Cgroup.Root, log); err != nil {
		return nil, fmt.Errorf("open cgroups: %w", err)
	}
	d.onClose(d.cgroups.Close)
	if d.images, err = images.Open(ctx, imageOptions(s), log); err != nil {
		return nil, err
	}
	d.onClose(d.images.Close)
	if d.network, err = cni.Open(networkOptions(s), log); err != nil {
		return nil, err
	}
	d.onClose(d.network.Close)
	d.runtimes = ociRuntimes(s, log)
	d.runtime, err = lifecycle.New(
		runtimeOptions(s, d.runtimes),
		lifecycle.Deps{Store: d.store, Keeper: d.keeper, Images: d.images, Network: d.network, Cgroups: d.cgroups, Plugins: d.plugins, Log: log})
	if err != nil {
		return nil, err
	}
	d.onClose(func() error { d.exits.close(); d.runtime.Close(); return nil })
	d.onClose(d.plugins.Close)
	d.stats, err = stats.New(ctx,
		stats.Options{Layers: lifecycle.LayersDir(s.Root), Images: filepath.Join(s.Root, "images")},
		stats.Deps{Store: d.store, Cgroups: d.cgroups, Log: log})
	if err != nil {
		return nil, err
	}
	d.onClose(d.stats.Close)
	return d, nil
}

func (d *daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

// close closes the parts, the last one first.
func (d *daemon) close() error {
	var errs []error
	for _, f := range slices.Backward(d.closers) {
		errs = append(errs, f())
	}
	d.exits.close()
	return errors.Join(errs...)
}

// leaveKeeper ends the connection, unless the keeper has.
func (d *daemon) leaveKeeper() error {
	if err := d.keeper.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// recover brings records, keeper and kernel together, then removes images nothing uses any more.
// From then on, exits are recorded as they come.
func (d *daemon) recover(ctx context.Context) error {
	if err := d.runtime.Recover(ctx, d.broken); err != nil {
		return err
	}
	d.exits.to(d.runtime.Exited)
	if err := d.images.Sweep(ctx); err != nil {
		d.log.Warn("layers of removed images stay for now", "err", err)
	}
	return nil
}

// startPlugins admits plugins. A node whose plugins cannot be is none without them if it says that they are required.
func (d *daemon) startPlugins() error {
	c := d.settings.Config.NRI
	if !c.Enabled {
		return nil
	}
	err := d.plugins.Start(pluginOptions(d.settings), d.store, lifecycle.ForPlugins(d.runtime), d.log)
	if err != nil && len(c.RequiredPlugins) == 0 {
		d.log.Warn("there are no plugins", "err", err)
		return nil
	}
	return err
}

// explain says whether an error is there because the keeper has gone.
func (d *daemon) explain(err error) error {
	select {
	case <-d.keeper.Lost():
		return fmt.Errorf("%w: %w", errKeeperLost, err)
	default:
		return err
	}
}

// server offers the daemon's parts as CRI. Streaming sessions end with ctx.
func (d *daemon) server(ctx context.Context) (*grpc.Server, error) {
	streams, err := stream.Listen(ctx, streamOptions(d.settings), d.runtime, d.log)
	if err != nil {
		return nil, err
	}
	d.onClose(streams.Close)
	s := grpc.NewServer(cri.Options(d.log, d.tracer)...)
	cri.New(cri.Deps{
		Store: d.store, Sandboxes: d.runtime, Containers: d.runtime, Processes: d.runtime, Resources: d.runtime, Stats: d.stats,
		Images: d.images, ImageUsage: d.images, Network: d.network, Streams: streams,
		Version: version, Handlers: d.handlers(ctx), Features: features(),
		SystemdCgroup: d.cgroups.Driver() == cgroup.DriverSystemd, Tracer: d.tracer, Config: d.settings,
	}).Register(s)
	return s, nil
}

func imageOptions(s settings) images.Options {
	c := s.Config
	return images.Options{
		Root: filepath.Join(s.Root, "images"), RegistryConfig: c.Registry.ConfigPath, AuthFile: c.Registry.AuthFile,
		VerifierDir: c.Images.VerifierDir, KeysDir: c.Images.DecryptionKeysDir, Pinned: c.Images.Pinned, StallTimeout: time.Duration(c.Registry.StallTimeout),
	}
}

func pluginOptions(s settings) nri.Options {
	c := s.Config.NRI
	return nri.Options{
		Socket: c.SocketPath, PluginDir: c.PluginPath, ConfigDir: c.PluginConfigPath, Launched: c.DisableConnections,
		RegistrationTimeout: time.Duration(c.PluginRegistrationTimeout), RequestTimeout: time.Duration(c.PluginRequestTimeout),
		Required: c.RequiredPlugins, Tolerate: c.TolerateMissingAnnotation, Reject: c.Reject, Version: version,
	}
}

func networkOptions(s settings) cni.Options {
	c := s.Config.CNI
	return cni.Options{
		ConfDir: c.ConfDir, BinDirs: c.BinDirs, Bridge: c.Bridge, Subnets: c.Subnets,
		DataDir: filepath.Join(s.Root, "cni"), BootDir: filepath.Join(s.State, "cni"),
		Timeout: time.Duration(c.Timeout), Await: !c.Embedded,
	}
}

func runtimeOptions(s settings, runtimes []*oci.Runtime) lifecycle.Options {
	return lifecycle.Options{
		Root: s.Root, State: s.State, NetNS: s.Config.CNI.NetNSDir,
		CDI: container.CDI{Dirs: s.Config.CDI.SpecDirs}, Hooks: s.Config.Hooks.Dirs, OwnDevices: s.Config.Container.DeviceOwnershipFromSecurityContext,
		SELinux: s.Config.Security.SELinux != "off", Runtimes: runtimes,
	}
}

func streamOptions(s settings) stream.Options {
	c := s.Config.Streaming
	return stream.Options{Address: netip.MustParseAddr(c.Address), Port: c.Port} // config has checked it
}

// cgroupDriver is the configuration's word in package cgroup's.
func cgroupDriver(name string) cgroup.Driver {
	if name == "auto" {
		return cgroup.DriverAuto
	}
	return cgroup.Driver(name)
}
