package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Versions are the versions of the CNI specification that the plugin speaks. GC and STATUS
// are for 1.1 only, CHECK from 0.4 on.
var Versions = version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// Plugin runs the verbs, on the network namespace that the process is in. It holds what would
// otherwise be asked for at every ADD; the truth is in the kernel and in the lease directory.
type Plugin struct {
	links    *netlink.Handle // the host's; its requests take turns on one socket
	deleting chan struct{}   // a slot for each deletion under way
	wg       sync.WaitGroup  // deletions

	mu       sync.Mutex
	networks map[string]*network // by bridge and lease directory
}

// network is what a Config's network looks like on the host.
type network struct {
	*table
	leases *leases

	mu     sync.Mutex
	link   netlink.Link // the bridge as last configured; nil: never
	set    string       // the subnets it was configured for
	looked time.Time    // when bridge and table were last seen to be there
}

// lookInterval is how long an ADD relies on bridge and table being there without asking.
const lookInterval = 2 * time.Second

// New opens the plugin for calls in process. Close it.
func New() (*Plugin, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Plugin{
		links:    links,
		deleting: make(chan struct{}, parallelDeletes),
		networks: make(map[string]*network),
	}, nil
}

// Close waits for deletions under way. No verb may be running.
func (p *Plugin) Close() error {
	p.wg.Wait()
	p.links.Close()
	var errs []error
	for _, n := range p.networks {
		errs = append(errs, n.close(), n.leases.close())
	}
	clear(p.networks)
	return errors.Join(errs...)
}

// Run is one call of the plugin in process: command is CNI_COMMAND, the answer what would be on
// stdout. Errors keep their class (errdefs) and errno.
func (p *Plugin) Run(_ context.Context, command string, args *skel.CmdArgs) ([]byte, error) {
	var out bytes.Buffer
	switch command {
	case "VERSION":
		err := Versions.Encode(&out)
		return out.Bytes(), err
	case "ADD":
		result, err := p.Add(args)
		if err != nil {
			return nil, err
		}
		err = result.PrintTo(&out)
		return out.Bytes(), err
	case "DEL":
		return nil, p.Del(args)
	case "CHECK":
		return nil, p.Check(args)
	case "GC":
		return nil, p.GC(args)
	case "STATUS":
		return nil, p.Status(args)
	}
	return nil, fmt.Errorf("CNI_COMMAND %q: %w", command, errdefs.ErrInvalidArgument)
}

// Main is the plugin as a program: one verb from the environment, then the end.
func Main() {
	p, err := New()
	if err != nil {
		types.NewError(types.ErrInternal, err.Error(), "").Print()
		os.Exit(1)
	}
	fail := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add: func(args *skel.CmdArgs) error {
			result, err := p.Add(args)
			if err != nil {
				return onWire(err)
			}
			return result.Print()
		},
		Del:    func(args *skel.CmdArgs) error { return onWire(p.Del(args)) },
		Check:  func(args *skel.CmdArgs) error { return onWire(p.Check(args)) },
		GC:     func(args *skel.CmdArgs) error { return onWire(p.GC(args)) },
		Status: func(args *skel.CmdArgs) error { return onWire(p.Status(args)) },
	}, Versions, "tare-bridge: bridge, addresses and host ports for pods (CNI)")
	if err := p.Close(); err != nil && fail == nil {
		fail = types.NewError(types.ErrInternal, err.Error(), "")
	}
	if fail != nil {
		fail.Print()
		os.Exit(1)
	}
}

// onWire gives an error its code, CNI SPEC.md "Error".
func onWire(err error) error {
	var known *types.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errdefs.IsInvalidArgument(err):
		return types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	case errdefs.IsResourceExhausted(err):
		return types.NewError(types.ErrTryAgainLater, err.Error(), "")
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// configured decodes a configuration and returns the state kept for its network.
func (p *Plugin) configured(stdin []byte) (*Config, *network, error) {
	c, err := parseConfig(stdin)
	if err != nil {
		return nil, nil, err
	}
	n, err := p.network(c)
	return c, n, err
}

// network returns the state kept for c's network.
func (p *Plugin) network(c *Config) (*network, error) {
	key := c.Bridge + "\x00" + c.leaseDir()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.networks[key]; ok && n.masquerade == !c.NoMasquerade {
		return n, nil
	}
	l, err := openLeases(c.leaseDir())
	if err != nil {
		return nil, err
	}
	if old := p.networks[key]; old != nil { // masquerade was switched
		old.close()
		l = old.leases
	}
	n := &network{table: newTable(c), leases: l}
	p.networks[key] = n
	return n, nil
}

// ensure makes the host's side of the network, or repairs what is not there any more: the
// bridge may have been deleted, the ruleset flushed. Returns the bridge.
func (p *Plugin) ensure(c *Config, n *network) (netlink.Link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	set := fmt.Sprint(c.Subnets)
	if n.link != nil && n.set == set && time.Since(n.looked) < lookInterval {
		return n.link, nil
	}
	link, err := p.ensureLink(c)
	if err != nil {
		return nil, err
	}
	there, err := n.exists()
	if err != nil {
		return nil, err
	}
	same := n.link != nil && n.link.Attrs().Index == link.Attrs().Index && n.set == set
	if !there || !same || link.Attrs().Flags&net.FlagUp == 0 {
		if err := p.configure(c, n, link); err != nil {
			return nil, err
		}
	}
	n.link, n.set, n.looked = link, set, time.Now()
	return link, nil
}

// lookAgain has the next ensure ask the kernel: an ADD found the bridge amiss.
func (n *network) lookAgain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looked = time.Time{}
}

// configure runs at the first ADD of the process, and when ensure found something amiss. The
// guard comes before route_localnet opens what it guards.
func (p *Plugin) configure(c *Config, n *network, link netlink.Link) error {
	if err := n.table.ensure(c.Subnets); err != nil {
		return err
	}
	if err := p.configureLink(c, link); err != nil {
		return err
	}
	return enableForwarding(c)
}

// Restore leases addresses again to the attachment that has them: the leases were deleted.
func (p *Plugin) Restore(stdin []byte, containerID, ifName string, addrs []netip.Addr) error {
	_, n, err := p.configured(stdin)
	if err != nil {
		return err
	}
	return n.leases.restore(attachment{containerID, ifName}.owner(), addrs)
}

// Teardown takes back everything the network of this configuration has on the host: pods'
// veths, host ports and leases, the bridge, the table, and changed sysctls unless another
// bridge of ours still needs them. Idempotent.
func (p *Plugin) Teardown(stdin []byte) error {
	c, n, err := p.configured(stdin)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = nil
	errs := []error{p.sweep(c, n, nil)}
	errs = append(errs, p.deleteLink(c.Bridge), n.remove(), os.RemoveAll(n.leases.dir))
	if others, err := n.others(); err != nil || len(others) > 0 {
		return errors.Join(append(errs, err, journalOf(c).remove())...)
	}
	return errors.Join(append(errs, journalOf(c).restore())...)
}
