package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"tare/crash"
)

// undo is a stack of steps that take back what an ADD has made, last made first.
type undo []func() error

// run runs all steps and joins their errors to the cause.
func (u undo) run(cause error) error {
	errs := []error{cause}
	for i := len(u) - 1; i >= 0; i-- {
		errs = append(errs, u[i]())
	}
	return errors.Join(errs...)
}

// outcome is what an ADD made.
type outcome struct {
	bridge netlink.Link
	veth   veth
	addrs  []netip.Prefix // the pod's, each with the length of its subnet
}

// Add attaches a pod: CNI ADD. On error nothing of it is left.
func (p *Plugin) Add(args *skel.CmdArgs) (types.Result, error) {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return nil, err
	}
	if err := c.validatePorts(); err != nil {
		return nil, err
	}
	n, err := p.network(c)
	if err != nil {
		return nil, err
	}
	pod, err := openPod(args.Netns)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	inPod := dialPod(pod)
	defer func() {
		if sock, err := inPod(); err == nil {
			sock.Close()
		}
	}()

	host, err := rtnetlink()
	if err != nil {
		return nil, err
	}
	defer host.Close()

	at := attachment{args.ContainerID, args.IfName}
	out := outcome{veth: veth{host: at.hostName(), peer: at.ifName}}
	if out.bridge, err = p.ensure(c, n); err != nil {
		return nil, err
	}
	var back undo
	if out.addrs, err = n.leases.acquire(at.owner(), c.Subnets); err != nil {
		return nil, err
	}
	back = append(back, func() error { return n.leases.remove(at.owner(), addresses(out.addrs)) })
	crash.Point("bridge-add.leased")
	out.veth.mac, out.veth.mtu = hardwareAddr(out.addrs[0].Addr()), out.bridge.Attrs().MTU
	if err := createVeth(host, out, pod); err != nil {
		n.lookAgain() // is the bridge gone? the next ADD will know
		return nil, back.run(err)
	}
	back = append(back, func() error { return p.deleteLink(out.veth.host) })
	crash.Point("bridge-add.veth-made")
	if err := connect(host, inPod, out); err != nil {
		return nil, back.run(err)
	}
	crash.Point("bridge-add.connected")
	if err := p.publish(c, n, out); err != nil {
		return nil, back.run(err)
	}
	crash.Point("bridge-add.published")
	return out.result(args.Netns).GetAsVersion(c.CNIVersion)
}

// connect configures the pod's side and waits until both pass traffic.
func connect(host *os.File, inPod func() (*os.File, error), out outcome) error {
	sock, err := inPod()
	if err != nil {
		return err
	}
	if err := configurePod(sock, out.veth.peer, out.addrs); err != nil {
		return err
	}
	return awaitCarrier(host, out.veth.host, out.bridge.Attrs().Name)
}

// publish makes the host ports, if any are asked for. The port of the bridge becomes a hairpin
// so that the pod reaches itself by them also where br_netfilter keeps such a packet on layer
// 2; not for the others, as a hairpin gives a pod its own broadcasts back.
func (p *Plugin) publish(c *Config, n *network, out outcome) error {
	if len(c.Runtime.PortMappings) == 0 {
		return nil
	}
	link, err := p.links.LinkByName(out.veth.host)
	if err != nil {
		return fmt.Errorf("find %s: %w", out.veth.host, err)
	}
	if err := p.links.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("hairpin on %s: %w", out.veth.host, err)
	}
	if err := n.addPorts(c.Runtime.PortMappings, addresses(out.addrs)); err != nil {
		return err
	}
	if err := forgetFlows(c.Runtime.PortMappings); err != nil {
		dead := func(a netip.Addr) bool { return contains(out.addrs, a) }
		return errors.Join(err, n.removePorts(dead))
	}
	return nil
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

func addresses(prefixes []netip.Prefix) []netip.Addr {
	addrs := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		addrs[i] = p.Addr()
	}
	return addrs
}

// result puts the outcome into CNI's words.
func (o outcome) result(netns string) *types100.Result {
	const podInterface = 2 // index in Interfaces
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: o.bridge.Attrs().Name, Mac: o.bridge.Attrs().HardwareAddr.String()},
			{Name: o.veth.host},
			{Name: o.veth.peer, Mac: o.veth.mac.String(), Mtu: o.veth.mtu, Sandbox: netns},
		},
	}
	for _, a := range o.addrs {
		gw := gateway(a.Masked())
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(podInterface),
			Address:   *ipNet(a),
			Gateway:   gw.AsSlice(),
		})
		bits := gw.BitLen()
		r.Routes = append(r.Routes, &types.Route{
			Dst: net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)},
			GW:  gw.AsSlice(),
		})
	}
	return r
}
