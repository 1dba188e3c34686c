package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// fallbackMTU is used on a host without a default route.
const fallbackMTU = 1500

// ensureLink returns the bridge named in c, made if it is not there, with every subnet's
// gateway address. ErrFailedPrecondition: the name belongs to a link that is no bridge.
func (p *Plugin) ensureLink(c *Config) (netlink.Link, error) {
	link, err := p.links.LinkByName(c.Bridge)
	if notFound(err) {
		link, err = p.createLink(c)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("link %s is a %s, not a bridge: %w", c.Bridge, link.Type(), errdefs.ErrFailedPrecondition)
	}
	return link, nil
}

func notFound(err error) bool {
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf)
}

// createLink makes the bridge. Its MAC is set, not left to the kernel, which would take the
// lowest of the ports' and so change it as pods come and go (br_stp_recalculate_bridge_id).
func (p *Plugin) createLink(c *Config) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.Bridge
	attrs.MTU = p.mtu(c)
	attrs.HardwareAddr = hardwareAddr(gateway(c.Subnets[0]))
	err := p.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.EEXIST) { // another process was quicker
		return nil, fmt.Errorf("create: %w", err)
	}
	return p.links.LinkByName(c.Bridge)
}

// configureLink gives the bridge its addresses and sets it up. Idempotent.
func (p *Plugin) configureLink(c *Config, link netlink.Link) error {
	if err := writeLinkSysctls(c); err != nil {
		return err
	}
	for _, s := range c.Subnets {
		a := ipAddr(netip.PrefixFrom(gateway(s), s.Bits()))
		if err := p.links.AddrReplace(link, a); err != nil {
			return fmt.Errorf("address %s on %s: %w", a.IPNet, c.Bridge, err)
		}
	}
	if err := p.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", c.Bridge, err)
	}
	return nil
}

// mtu is the configured one, else that of the interface the host's traffic leaves by.
func (p *Plugin) mtu(c *Config) int {
	if c.MTU > 0 {
		return c.MTU
	}
	for _, probe := range []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")} { // RFC 5737, RFC 3849
		routes, err := p.links.RouteGet(probe)
		if err != nil || len(routes) == 0 {
			continue
		}
		if link, err := p.links.LinkByIndex(routes[0].LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return fallbackMTU
}

// veth is the pair that an ADD makes.
type veth struct {
	host string // name of the host side
	peer string // name in the pod
	mac  net.HardwareAddr
	mtu  int
}

// createVeth makes the pair in one request: the host side a port of the bridge, the peer in the pod's
// namespace from the start (no move, no rename). Then the host side is set up. ErrAlreadyExists: either name is taken.
func createVeth(host *os.File, out outcome, pod *os.File) error {
	var b batch
	b.add(fmt.Sprintf("create veth %s with peer %s", out.veth.host, out.veth.peer), newVeth(out.veth, out.bridge.Attrs().Index, pod))
	b.noLinkLocal(out.veth.host)
	b.setUp(out.veth.host)
	_, err := b.do(host)
	if errors.Is(err, unix.EEXIST) {
		err = errors.Join(err, errdefs.ErrAlreadyExists)
	}
	return err
}

// newVeth has one queue: without XDP a veth uses no more, and each costs memory.
func newVeth(v veth, bridge int, pod *os.File) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range vethAttrs(v.host, v.mtu) {
		req.AddData(a)
	}
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))

	kind := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	kind.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := kind.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC) // up only when both are there (veth_open, drivers/net/veth.c)
	for _, a := range vethAttrs(v.peer, v.mtu) {
		peer.AddChild(a)
	}
	peer.AddRtAttr(unix.IFLA_ADDRESS, v.mac)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(pod.Fd())))
	req.AddData(kind)
	return req
}

func vethAttrs(name string, mtu int) []*nl.RtAttr {
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))),
		nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)),
		nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)),
	}
}

// ipAddr turns an address with its subnet's length into netlink's form, free of duplicate
// address detection: the lease says that it is unique, and DAD would hold it back a second.
func ipAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
