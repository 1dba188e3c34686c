package cni

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tare/cni/bridge"
	"tare/spec"

	"github.com/containernetworking/cni/libcni"
)

const (
	// PluginTimeout is the default bound of one plugin run. A call that fails by it, and the
	// DEL after it, still fit into the four minutes kubelet gives RunPodSandbox.
	PluginTimeout = time.Minute
	// interfaceName is what the pod's interface is called; kubelet expects it.
	interfaceName = "eth0"
)

// Options say where things are. Only DataDir has no default.
type Options struct {
	ConfDir string   // configurations; empty: /etc/cni/net.d
	BinDirs []string // plugin binaries; empty: /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni
	DataDir string   // attachments and leases; survives a boot
	BootDir string   // ADD's results and changed sysctls; should not survive a boot; empty: DataDir
	Bridge  string   // the embedded network's bridge; empty: tare0
	// Subnets are the embedded network's until SetPodCIDR replaces them, at most one per
	// family; empty: 10.88.0.0/16, and a ULA if the host has an IPv6 address.
	Subnets []string
	Timeout time.Duration // of one plugin run; 0: PluginTimeout
	Await   bool          // without a configuration there is no network, not even the embedded one
}

func (o *Options) setDefaults() error {
	if o.DataDir == "" {
		return fmt.Errorf("cni options: DataDir is empty")
	}
	if o.ConfDir == "" {
		o.ConfDir = "/etc/cni/net.d"
	}
	if len(o.BinDirs) == 0 {
		o.BinDirs = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}
	}
	if o.BootDir == "" {
		o.BootDir = o.DataDir
	}
	if o.Bridge == "" {
		o.Bridge = "tare0"
	}
	if o.Timeout == 0 {
		o.Timeout = PluginTimeout
	}
	return nil
}

// Network gives pods their network. Open one per daemon.
type Network struct {
	opts    Options
	log     *slog.Logger
	plugin  *bridge.Plugin
	runner  *runner
	libcni  *libcni.CNIConfig
	records records
	conf    *configs
	busy    spec.PodLocks
	retry   *retrier
	status  statusCache

	// gate keeps the GC verb, which removes whatever it is not told of, from running beside
	// an ADD or DEL; those hold it shared.
	gate sync.RWMutex

	mu      sync.Mutex
	suspect map[spec.PodID]struct{} // found not live by the last GC, or older than this Network
}

// Pod is what an attachment is made for.
type Pod struct {
	ID           spec.PodID
	Name         string // Kubernetes' names, for plugins that ask the API server
	UID          string
	Namespace    string
	NetNS        string // path of the pod's network namespace
	PortMappings []spec.PortMapping
	DNS          spec.DNS
	CgroupPath   string
	Annotations  map[string]string
}

// Result is what ADD made.
type Result struct {
	IPs       []netip.Addr // in the order of the plugins, the first is the pod's primary address
	Interface string       // name in the pod
	Network   string       // name of the configuration used
}

// Open prepares the node's network; nothing of the host is touched before the first Add.
// Call GC next, with the pods that are live. Errors: ErrInvalidArgument for Options.Subnets.
func Open(o Options, log *slog.Logger) (*Network, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	for _, dir := range []string{o.DataDir, o.BootDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open cni: %w", err)
		}
	}
	recs, err := openRecords(filepath.Join(o.DataDir, "attachments"))
	if err != nil {
		return nil, err
	}
	conf, err := openConfigs(o, log)
	if err != nil {
		return nil, err
	}
	old, err := recs.list(log)
	if err != nil {
		return nil, err
	}
	plugin, err := bridge.New()
	if err != nil {
		return nil, err
	}
	n := &Network{opts: o, log: log, plugin: plugin, records: recs, conf: conf}
	n.runner = &runner{plugin: plugin, timeout: o.Timeout}
	// ADD's results describe links and rules of this boot.
	n.libcni = libcni.NewCNIConfigWithCacheDir(o.BinDirs, o.BootDir, n.runner)
	n.suspect = make(map[spec.PodID]struct{}, len(old))
	for _, r := range old {
		n.suspect[r.Pod] = struct{}{}
	}
	n.retry = newRetrier(n.retryDel)
	return n, n.restoreIfLost(len(old))
}

// Close ends retries and background work; attachments stay. No call may be running.
func (n *Network) Close() error {
	n.retry.close()
	n.status.wait()
	return n.plugin.Close()
}

// undoContext is for what must be done although the caller has gone: its own deadline, and
// plugins' own on top.
func undoContext(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}
