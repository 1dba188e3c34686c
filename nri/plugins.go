package nri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/nri/pkg/adaptation"
	validator "github.com/containerd/nri/plugins/default-validator"
	"github.com/containerd/ttrpc"

	"tare/spec"
	"tare/store"
)

// Options say where plugins are and what is expected of them.
type Options struct {
	Socket    string // where plugins connect
	PluginDir string // whose programs are started
	ConfigDir string // of the programs' configurations
	Launched  bool   // only the programs that are started here: nobody may connect

	RegistrationTimeout time.Duration // 0: the library's, five seconds
	RequestTimeout      time.Duration // 0: the library's, two seconds

	Required []string // plugins without which no container is created
	Tolerate string   // key of an annotation with which a pod does without them
	Reject   []string // what no plugin may adjust: hooks, namespaces, sysctls, seccomp

	Version string // the runtime's, which plugins are told
}

// validator is the library's own judge of what plugins did together.
func (o Options) validator() *validator.DefaultValidatorConfig {
	rejects := func(what string) bool { return slices.Contains(o.Reject, what) }
	return &validator.DefaultValidatorConfig{
		Enable:                                len(o.Required)+len(o.Reject) > 0,
		RequiredPlugins:                       o.Required,
		TolerateMissingAnnotation:             o.Tolerate,
		RejectOCIHookAdjustment:               rejects("hooks"),
		RejectNamespaceAdjustment:             rejects("namespaces"),
		RejectSysctlAdjustment:                rejects("sysctls"),
		RejectRuntimeDefaultSeccompAdjustment: rejects("seccomp"),
		RejectUnconfinedSeccompAdjustment:     rejects("seccomp"),
		RejectCustomSeccompAdjustment:         rejects("seccomp"),
	}
}

// Changer makes the changes that plugins ask for outside of any event.
type Changer interface {
	// UpdateContainer changes limits.
	UpdateContainer(ctx context.Context, id spec.ContainerID, change *spec.Resources) error
	// StopContainer ends a container, which is evicted.
	StopContainer(ctx context.Context, id spec.ContainerID, grace time.Duration) error
}

// Plugins are the node's plugins. The zero value has none, and tells nobody anything.
type Plugins struct {
	adaptation *adaptation.Adaptation
	count      atomic.Int32
	store      *store.Store
	changer    Changer
	log        *slog.Logger
	wg         sync.WaitGroup // changes asked for at synchronization
	failed     atomic.Pointer[failure]
}

// failure is the last error a plugin answered with.
type failure struct {
	plugin string
	err    error
}

// Start starts and admits plugins, and tells each what there is. Precondition: the records are as the kernel has it.
// Close ends it.
func (p *Plugins) Start(o Options, s *store.Store, c Changer, log *slog.Logger) error {
	p.store, p.changer, p.log = s, c, log
	logTo(log)
	adaptation.SetPluginRegistrationTimeout(cmp.Or(o.RegistrationTimeout, adaptation.DefaultPluginRegistrationTimeout))
	adaptation.SetPluginRequestTimeout(cmp.Or(o.RequestTimeout, adaptation.DefaultPluginRequestTimeout))
	options := []adaptation.Option{
		adaptation.WithSocketPath(o.Socket), adaptation.WithPluginPath(o.PluginDir), adaptation.WithPluginConfigPath(o.ConfigDir),
		adaptation.WithDefaultValidator(o.validator()), adaptation.WithMetrics(counter{p}),
		adaptation.WithTTRPCOptions(
			[]ttrpc.ClientOpts{ttrpc.WithUnaryClientInterceptor(readLeftOut)},
			[]ttrpc.ServerOpt{ttrpc.WithUnaryServerInterceptor(p.evictUnasked)},
		),
	}
	switch taken := answers(o.Socket); {
	case o.Launched:
		options = append(options, adaptation.WithDisabledExternalConnections())
	case taken:
		log.Warn("another runtime admits plugins at the socket, nobody can connect here", slog.String("socket", o.Socket))
		options = append(options, adaptation.WithDisabledExternalConnections())
	}
	a, err := adaptation.New("tare", o.Version, p.synchronize, p.update, options...)
	if err != nil {
		return fmt.Errorf("NRI: %w", err)
	}
	p.adaptation = a // before a plugin is counted: exits are events already
	if err := a.Start(); err != nil {
		a.Stop()
		return fmt.Errorf("NRI: %w", err)
	}
	p.count.Add(1) // the library counts those it started itself at the first event, and says the true number then
	return nil
}

// answers says whether somebody serves a socket.
func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Sweep removes a socket at which nobody admits plugins any more, and its directory if nothing else is there.
func Sweep(socket string) error {
	if answers(socket) {
		return nil
	}
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EBUSY) {
			return err
		}
	}
	return nil
}

// Close lets go of all plugins, and waits for the changes they asked for.
func (p *Plugins) Close() error {
	if p.adaptation != nil {
		p.adaptation.Stop()
	}
	p.wg.Wait()
	return nil
}

// Active says whether there is a plugin to tell of anything.
func (p *Plugins) Active() bool { return p.count.Load() > 0 }

// Hold keeps plugins that connect from being told what there is, until release is called: between an event and the
// record of what it is about they would learn of it from neither.
func (p *Plugins) Hold() (release func()) {
	if p.adaptation == nil {
		return func() {}
	}
	return p.adaptation.BlockPluginSync().Unblock
}

// counter takes from the library the number of plugins, and what it tells nobody else.
type counter struct{ p *Plugins }

func (c counter) UpdatePluginCount(n int)                         { c.p.count.Store(int32(n)) }
func (counter) RecordPluginLatency(string, string, time.Duration) {}

// RecordPluginInvocation notes whose an error is: the library returns it without a name.
func (c counter) RecordPluginInvocation(plugin, _ string, err error) {
	if err != nil {
		c.p.failed.Store(&failure{plugin, err})
	}
}

func (counter) RecordPluginAdjustments(string, string, *adaptation.ContainerAdjustment, int, int) {}

// synchronize tells one plugin, or those just started, what there is. What they want changed is changed
// afterwards: operations under way hold pods, and may wait for this to be over.
func (p *Plugins) synchronize(ctx context.Context, tell adaptation.SyncCB) error {
	var pods []*adaptation.PodSandbox
	var containers []*adaptation.Container
	for _, pod := range p.store.Pods() {
		if pod.State != store.PodReady {
			continue
		}
		pods = append(pods, wirePod(pod))
		for _, c := range pod.Containers {
			if c.State != store.ContainerRemoving {
				containers = append(containers, wireContainer(c))
			}
		}
	}
	updates, err := tell(ctx, pods, containers)
	if err != nil {
		return err
	}
	p.wg.Go(func() { _, _ = p.update(context.WithoutCancel(ctx), updates) }) // ends with the changes, logs what fails
	return nil
}

// update makes changes, and returns those that could not be made; that some could not is no error of the call.
func (p *Plugins) update(ctx context.Context, updates []*adaptation.ContainerUpdate) (failed []*adaptation.ContainerUpdate, err error) {
	for _, u := range updates {
		if err := p.change(ctx, u); err != nil {
			p.log.Warn("change a plugin asks for", slog.Any("err", err))
			failed = append(failed, u)
		}
	}
	return failed, nil
}

func (p *Plugins) change(ctx context.Context, u *adaptation.ContainerUpdate) error {
	change, err := resources(u.GetLinux().GetResources())
	if err == nil {
		err = p.changer.UpdateContainer(ctx, spec.ContainerID(u.ContainerId), change)
	}
	if err != nil {
		return fmt.Errorf("NRI: update of container %s: %w", u.ContainerId, err)
	}
	return nil
}

// Apply makes the changes that plugins asked for at an event, but for skip's, which the event is about. One that
// fails is an error, unless the plugin can do without. Precondition: the caller holds no pod.
func (p *Plugins) Apply(ctx context.Context, a Answer, skip spec.ContainerID) error {
	var errs []error
	for _, u := range a.updates {
		if u == nil || u.ContainerId == string(skip) {
			continue
		}
		if err := p.change(ctx, u); err != nil && u.IgnoreFailure {
			p.log.Info("change a plugin can do without", slog.Any("err", err))
		} else {
			errs = append(errs, err)
		}
	}
	for _, e := range a.evictions {
		p.log.Info("a plugin evicts a container", slog.String("container", e.ContainerId), slog.String("reason", e.Reason))
		if err := p.changer.StopContainer(ctx, spec.ContainerID(e.ContainerId), 0); err != nil {
			errs = append(errs, fmt.Errorf("NRI: eviction of container %s: %w", e.ContainerId, err))
		}
	}
	return errors.Join(errs...)
}

// refusal is what a plugin's error, or one between plugins, is to the caller of the runtime. Its class on the
// plugin's connection says nothing here.
func (p *Plugins) refusal(err error) error {
	if err == nil {
		return nil
	}
	_, text, ok := strings.Cut(err.Error(), " desc = ")
	last := p.failed.Load()
	switch {
	case !ok:
		text = err.Error()
	case last != nil && errors.Is(err, last.err):
		text = "plugin " + last.plugin + ": " + text
	}
	return fmt.Errorf("NRI: %s: %w", text, errdefs.ErrFailedPrecondition)
}
