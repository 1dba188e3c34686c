package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocols are those with ports that the maps' key can hold.
var protocols = map[string]byte{
	"tcp":  unix.IPPROTO_TCP,
	"udp":  unix.IPPROTO_UDP,
	"sctp": unix.IPPROTO_SCTP,
}

// element is one host port of one pod address: an element of map in.
type element struct {
	in       portMap
	key, val []byte
}

// elements lists what the mappings mean for a pod with these addresses: every mapping once per
// address of the family its host address admits. Host addresses 0.0.0.0 and :: mean every
// address of their family, none means every address.
func elements(mappings []PortMapping, pod []netip.Addr) []element {
	var list []element
	for _, m := range mappings {
		var host netip.Addr
		if m.HostIP != "" {
			host = netip.MustParseAddr(m.HostIP).Unmap() // checked by validatePorts
		}
		for _, a := range pod {
			if host.IsValid() && host.Is4() != a.Is4() {
				continue
			}
			list = append(list, newElement(m, host, a))
		}
	}
	return list
}

func newElement(m PortMapping, host, pod netip.Addr) element {
	e := element{in: ports4}
	if pod.Is6() {
		e.in = ports6
	}
	if host.IsValid() && !host.IsUnspecified() {
		e.in++ // the map of the same family with the host's address in its key
		e.key = host.AsSlice()
	}
	e.key = append(e.key, protocols[m.Protocol], 0, 0, 0)
	e.key = appendPort(e.key, m.HostPort)
	e.val = appendPort(pod.AsSlice(), m.ContainerPort)
	return e
}

// appendPort pads to four bytes, as every part of a concatenation is.
func appendPort(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

// target is the pod address that an element's value leads to.
func target(val []byte) netip.Addr {
	if len(val) < 4 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(val[:len(val)-4])
	return a
}

// addPorts publishes the mappings, all or none. ErrFailedPrecondition: a port is taken.
func (t *table) addPorts(mappings []PortMapping, pod []netip.Addr) error {
	err := t.transact(func(c *nftables.Conn) error {
		for _, e := range elements(mappings, pod) {
			if err := c.SetAddElements(t.maps[e.in], []nftables.SetElement{{Key: e.key, Val: e.val}}); err != nil {
				return err
			}
		}
		return c.Flush()
	})
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.EBUSY) {
		err = errors.Join(fmt.Errorf("one is taken by another pod: %w", errdefs.ErrFailedPrecondition), err)
	}
	if err != nil {
		return fmt.Errorf("publish host ports %v: %w", mappings, err)
	}
	return nil
}

// removePorts removes every element that leads to an address for which dead says so. Looking
// at the target first keeps a late DEL from taking a port that has a new owner. Idempotent; a
// table that is gone has no ports.
func (t *table) removePorts(dead func(netip.Addr) bool) error {
	// Asked first, as package nftables loses the errno of a missing map.
	if there, err := t.exists(); err != nil || !there {
		return err
	}
	err := t.transact(func(c *nftables.Conn) error {
		for _, m := range t.maps {
			have, err := c.GetSetElements(m)
			if err != nil {
				return fmt.Errorf("list map %s: %w", m.Name, err)
			}
			have = slices.DeleteFunc(have, func(e nftables.SetElement) bool { return !dead(target(e.Val)) })
			if len(have) == 0 {
				continue
			}
			if err := c.SetDeleteElements(m, have); err != nil {
				return err
			}
		}
		return c.Flush()
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("withdraw host ports: %w", err)
	}
	return nil
}

// missingPorts says which of the mappings are not published.
func (t *table) missingPorts(mappings []PortMapping, pod []netip.Addr) error {
	var missing []error
	err := t.transact(func(c *nftables.Conn) error {
		for _, e := range elements(mappings, pod) {
			have, err := c.GetSetElements(t.maps[e.in])
			if err != nil {
				return fmt.Errorf("list map %s: %w", t.maps[e.in].Name, err)
			}
			if !slices.ContainsFunc(have, func(h nftables.SetElement) bool {
				return slices.Equal(h.Key, e.key) && slices.Equal(h.Val, e.val)
			}) {
				missing = append(missing, fmt.Errorf("host port to %s is not published", target(e.val)))
			}
		}
		return nil
	})
	return errors.Join(append(missing, err)...)
}

// forgetFlows drops tracked UDP flows to the host ports, which would go on to where they went
// before the mapping came or went: UDP has no end that conntrack could see.
func forgetFlows(mappings []PortMapping) error {
	var errs []error
	for _, m := range mappings {
		if m.Protocol != "udp" {
			continue
		}
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			f := &netlink.ConntrackFilter{}
			errs = append(errs,
				f.AddProtocol(unix.IPPROTO_UDP),
				f.AddPort(netlink.ConntrackOrigDstPort, m.HostPort))
			if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err != nil {
				errs = append(errs, fmt.Errorf("forget UDP flows to port %d: %w", m.HostPort, err))
			}
		}
	}
	return errors.Join(errs...)
}
