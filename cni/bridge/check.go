package bridge

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/vishvananda/netlink"
)

// Check compares what is there with what ADD made: CNI CHECK. The error names all that differs.
func (p *Plugin) Check(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if err := c.validatePorts(); err != nil {
		return err
	}
	n, err := p.network(c)
	if err != nil {
		return err
	}
	at := attachment{args.ContainerID, args.IfName}
	addrs, err := c.previous()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range addrs {
		if !n.leases.holds(at.owner(), a) {
			errs = append(errs, fmt.Errorf("address %s is not leased to this attachment", a))
		}
	}
	errs = append(errs, p.checkHost(c, n, at))
	if len(c.Runtime.PortMappings) > 0 {
		errs = append(errs, n.missingPorts(c.Runtime.PortMappings, addrs))
	}
	pod, err := openPod(args.Netns)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer pod.Close()
	return errors.Join(append(errs, checkPod(pod, at.ifName, addrs))...)
}

// checkHost: the veth is a port of the bridge, and the table is there.
func (p *Plugin) checkHost(c *Config, n *network, at attachment) error {
	there, err := n.exists()
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("nftables table %s is gone", n.nft.Name)
	}
	bridge, err := p.links.LinkByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	link, err := p.links.LinkByName(at.hostName())
	if err != nil {
		return fmt.Errorf("veth %s: %w", at.hostName(), err)
	}
	if link.Attrs().MasterIndex != bridge.Attrs().Index {
		return fmt.Errorf("veth %s is no port of %s", at.hostName(), c.Bridge)
	}
	return nil
}

// Status says whether an ADD could work: CNI STATUS. Full subnets do not count: the node's
// pods run, and saying otherwise would have them evicted.
func (p *Plugin) Status(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	link, err := p.links.LinkByName(c.Bridge)
	if err != nil && !notFound(err) {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	if _, isBridge := link.(*netlink.Bridge); err == nil && !isBridge {
		return fmt.Errorf("link %s is a %s, not a bridge", c.Bridge, link.Type())
	}
	n, err := p.network(c)
	if err != nil {
		return err
	}
	_, err = n.exists()
	return err
}
