package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
)

// GC removes what belongs to no valid attachment: CNI GC.
func (p *Plugin) GC(args *skel.CmdArgs) error {
	c, n, err := p.configured(args.StdinData)
	if err != nil {
		return err
	}
	valid := make([]attachment, len(c.ValidAttachments))
	for i, a := range c.ValidAttachments {
		valid[i] = attachment{a.ContainerID, a.IfName}
	}
	return p.sweep(c, n, valid)
}

// sweep removes ports, veths and leases, in DEL's order, but for those of the attachments given. A port whose address is
// not leased here is of another network on the same bridge: DEL gives a lease back after everything else.
func (p *Plugin) sweep(c *Config, n *network, keep []attachment) error {
	owners := make(map[string]bool, len(keep))
	names := make(map[string]bool, len(keep))
	for _, at := range keep {
		owners[at.owner()], names[at.hostName()] = true, true
	}
	held, err := n.leases.all()
	if err != nil {
		return err
	}
	errs := []error{
		n.removePorts(func(a netip.Addr) bool { return held[a] != "" && !owners[held[a]] }),
		p.sweepLinks(c, names),
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for a, owner := range held {
		if !owners[owner] {
			errs = append(errs, n.leases.remove(owner, []netip.Addr{a}))
		}
	}
	return errors.Join(errs...)
}

// sweepLinks deletes the bridge's ports that bear a name of ours, but for those given.
func (p *Plugin) sweepLinks(c *Config, keep map[string]bool) error {
	bridge, err := p.links.LinkByName(c.Bridge)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	links, err := p.links.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		if a.MasterIndex == bridge.Attrs().Index && strings.HasPrefix(a.Name, vethPrefix) && !keep[a.Name] {
			errs = append(errs, p.deleteLink(a.Name))
		}
	}
	return errors.Join(errs...)
}
