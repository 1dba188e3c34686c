package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// dialPod starts to open an rtnetlink socket in the pod's network namespace, and returns what waits for it; the
// caller closes the socket.
func dialPod(pod *os.File) (wait func() (*os.File, error)) {
	var sock *os.File
	done := make(chan error, 1)
	go func() { // ends with its one answer
		done <- nsutil.InNetNS(pod, func() (err error) {
			sock, err = rtnetlink()
			return err
		})
	}()
	return sync.OnceValues(func() (*os.File, error) {
		if err := <-done; err != nil {
			return nil, fmt.Errorf("rtnetlink in netns %s: %w", pod.Name(), err)
		}
		return sock, nil
	})
}

// openPod opens the namespace that CNI_NETNS names. ErrInvalidArgument: it is not one.
func openPod(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open netns: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("%s is no network namespace: %w", path, errdefs.ErrInvalidArgument)
	}
	return f, nil
}

// configurePod sets lo and the pod's side of the veth up, and gives it its addresses and default routes. Without an
// IPv6 address it has no link-local one either.
func configurePod(sock *os.File, ifName string, addrs []netip.Prefix) error {
	var first, second batch
	first.setUp("lo")
	if !slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		first.noLinkLocal(ifName)
	}
	first.setUp(ifName)
	first.look(ifName)
	links, err := first.do(sock)
	if err != nil {
		return err
	}
	index := links[0].index
	for _, a := range addrs {
		second.add(fmt.Sprintf("address %s on %s", a, ifName), newAddr(index, a))
	}
	for _, a := range addrs {
		gw := gateway(a.Masked())
		second.add(fmt.Sprintf("default route by %s", gw), newDefaultRoute(index, gw))
	}
	if _, err := second.do(sock); err != nil || links[0].up {
		return err
	}
	return awaitCarrier(sock, ifName)
}

// newAddr is an address with its subnet's length, free of duplicate address detection: the lease says that it is
// unique, and DAD would hold it back a second.
func newAddr(index int32, a netip.Prefix) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(family(a.Addr()))
	msg.Index, msg.Prefixlen = uint32(index), uint8(a.Bits())
	if a.Addr().Is6() {
		msg.IfAddrmsg.Flags = unix.IFA_F_NODAD
	}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a.Addr().AsSlice()))
	if a.Addr().Is4() && a.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(a)))
	}
	return req
}

// broadcast is the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) []byte {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return b
}

func newDefaultRoute(index int32, gw netip.Addr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewRtMsg()
	msg.Family = uint8(family(gw))
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, gw.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	return req
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

const (
	carrierTimeout = time.Second
	carrierPoll    = time.Millisecond
)

// awaitCarrier returns once the named links pass traffic. Without it the pod's first packet may
// be lost to a bridge port that is still disabled, and its retransmission is a second away.
//
// Carrier changes are worked off by the kernel's link watch; asking for a link does that work
// for it at once (since Linux 6.9, commit facd15dfd691), so that ADDs there have seen enough with their first look.
func awaitCarrier(sock *os.File, names ...string) error {
	deadline := time.Now().Add(carrierTimeout)
	for {
		var b batch
		for _, name := range names {
			b.look(name)
		}
		links, err := b.do(sock)
		if err != nil {
			return err
		}
		down := slices.IndexFunc(links, func(l seenLink) bool { return !l.up })
		if down < 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("carrier of %s: %w", names[down], os.ErrDeadlineExceeded)
		}
		time.Sleep(carrierPoll)
	}
}

// Links opens what looks at the links in a network namespace and changes them. The caller closes it.
func Links(ns *os.File) (h *netlink.Handle, err error) {
	err = nsutil.InNetNS(ns, func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlink in netns %s: %w", ns.Name(), withErrno(err))
	}
	return h, nil
}

// checkPod compares the pod's side with what ADD made.
func checkPod(pod *os.File, ifName string, addrs []netip.Addr) error {
	h, err := Links(pod)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(ifName)
	if err != nil {
		return fmt.Errorf("find %s: %w", ifName, err)
	}
	if link.Attrs().OperState != netlink.OperUp {
		return fmt.Errorf("%s is %s", ifName, link.Attrs().OperState)
	}
	have, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", ifName, err)
	}
	present := make(map[netip.Addr]struct{}, len(have))
	for _, a := range have {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			present[ip.Unmap()] = struct{}{}
		}
	}
	var errs []error
	for _, a := range addrs {
		if _, ok := present[a]; !ok {
			errs = append(errs, fmt.Errorf("%s has lost address %s", ifName, a))
		}
	}
	return errors.Join(errs...)
}
