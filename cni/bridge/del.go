package bridge

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"tare/crash"
)

// Del detaches a pod: CNI DEL. Idempotent; it needs neither the pod's namespace nor a finished
// ADD. The lease goes last, when no link carries the address any more.
func (p *Plugin) Del(args *skel.CmdArgs) error {
	c, n, err := p.configured(args.StdinData)
	if err != nil {
		return err
	}
	at := attachment{args.ContainerID, args.IfName}
	addrs, err := n.leases.of(at.owner())
	if err != nil {
		return err
	}
	if len(c.Runtime.PortMappings) > 0 && len(addrs) > 0 {
		dead := func(a netip.Addr) bool { return slices.Contains(addrs, a) }
		err = errors.Join(n.removePorts(dead), forgetFlows(c.Runtime.PortMappings))
		crash.Point("bridge-del.ports-removed")
	}
	if err = errors.Join(err, p.deleteLink(at.hostName())); err != nil {
		return err
	}
	crash.Point("bridge-del.link-deleted")
	defer crash.Point("bridge-del.lease-removed")
	return n.leases.remove(at.owner(), addrs)
}

// previous are the addresses of at's interface in prevResult, if there is one.
func (c *Config) previous() ([]netip.Addr, error) {
	if c.PrevResult == nil {
		return nil, nil
	}
	r, err := types100.GetResult(c.PrevResult)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, ip := range r.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs, nil
}
