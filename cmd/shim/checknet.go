package main

import (
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"tare/nsutil"
)

// networkFeatures are tried in a network namespace of their own.
func networkFeatures() []feature {
	return []feature{
		{
			name: "bridge and veth", has: "the embedded network, most CNI plugins",
			lacks: "the embedded network does not work", probe: inNetNS(probeLinks),
		},
		{
			name: "nftables NAT", has: "pods reach beyond the node, host ports",
			lacks: "the embedded network does not work", probe: inNetNS(probeTable),
		},
		{
			name: "IPv6", has: "pods can have IPv6 addresses", lacks: "pods have IPv4 addresses only",
			probe: func() error { return fileSays("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0") },
		},
	}
}

// inNetNS is a probe with a network namespace that goes with it.
func inNetNS(probe func(ns *os.File) error) func() error {
	return func() error {
		ns, err := nsutil.NewNetNS()
		if err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		defer ns.Close()
		return probe(ns)
	}
}

func probeLinks(ns *os.File) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return err
	}
	defer h.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe1", MasterIndex: bridge.Index}, PeerName: "probe2"}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	return nil
}

func probeTable(ns *os.File) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "probe"})
	c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	return c.Flush()
}
