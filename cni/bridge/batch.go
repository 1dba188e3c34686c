package bridge

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// batchTimeout is far beyond what the kernel takes to answer: it has done the work when the requests are sent.
const batchTimeout = 10 * time.Second

// batch is requests to rtnetlink that the kernel gets with one system call and does in order. It does those that
// come after one that fails, too.
type batch struct {
	bytes []byte
	steps []step
}

// step is a request: its number, what to call it, and the error that is none.
type step struct {
	seq      uint32
	what     string
	tolerate error // or nil
}

func (b *batch) add(what string, req *nl.NetlinkRequest) { b.addTolerant(what, req, nil) }

func (b *batch) addTolerant(what string, req *nl.NetlinkRequest, tolerate error) {
	b.steps = append(b.steps, step{req.Seq, what, tolerate})
	b.bytes = append(b.bytes, req.Serialize()...)
}

// do executes the batch, and returns the links that it asks for, in order, or the first error, after which the socket
// is of no use: answers to the rest may still come.
func (b *batch) do(sock *os.File) ([]seenLink, error) {
	if err := send(sock, b.bytes); err != nil {
		return nil, err
	}
	if err := sock.SetReadDeadline(time.Now().Add(batchTimeout)); err != nil {
		return nil, err
	}
	var links []seenLink
	buf := make([]byte, 1<<14) // several links without their statistics
	for len(b.steps) > 0 {
		n, err := sock.Read(buf)
		if err != nil {
			return nil, err
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if links, err = b.take(m, links); err != nil {
				return nil, err
			}
		}
	}
	return links, nil
}

// take reads one answer. Each request has an acknowledgement, which comes last.
func (b *batch) take(m syscall.NetlinkMessage, links []seenLink) ([]seenLink, error) {
	switch {
	case len(b.steps) == 0 || m.Header.Seq != b.steps[0].seq:
	case m.Header.Type == unix.RTM_NEWLINK:
		link, err := parseLink(m.Data)
		return append(links, link), err
	case m.Header.Type == unix.NLMSG_ERROR:
		if err := errno(m.Data); err != nil && !errors.Is(err, b.steps[0].tolerate) {
			return nil, fmt.Errorf("%s: %w", b.steps[0].what, err)
		}
		b.steps = b.steps[1:]
	}
	return links, nil
}

// seenLink is what an ADD wants to know of a link.
type seenLink struct {
	index int32
	up    bool // it passes traffic
}

// rtextSkipStats leaves out statistics, most of what the kernel tells of a link: RTEXT_FILTER_SKIP_STATS of
// linux/rtnetlink.h.
const rtextSkipStats = 1 << 3

// look asks for a link by its name.
func (b *batch) look(name string) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextSkipStats)))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	b.add("look at "+name, req)
}

// setUp sets a link up.
func (b *batch) setUp(name string) {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Flags, info.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(info)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	b.add("set "+name+" up", req)
}

// noLinkLocal keeps a link that is not up yet from giving itself an IPv6 address, whose detection of duplicates,
// router solicitation and multicast reports the bridge floods to the ports of all pods: with hundreds of pods that is most of
// what starting one costs the machine. A kernel without IPv6, or a link with too small an MTU for it, has none anyway
// (EAFNOSUPPORT of inet6_validate_link_af, net/ipv6/addrconf.c).
func (b *batch) noLinkLocal(name string) {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	families := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	families.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{nl.IN6_ADDR_GEN_MODE_NONE})
	req.AddData(families)
	b.addTolerant("no link-local address of "+name, req, unix.EAFNOSUPPORT)
}

func parseLink(data []byte) (seenLink, error) {
	if len(data) < unix.SizeofIfInfomsg {
		return seenLink{}, unix.EBADMSG
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return seenLink{}, err
	}
	link := seenLink{index: nl.DeserializeIfInfomsg(data).Index}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_OPERSTATE && len(a.Value) > 0 {
			link.up = netlink.LinkOperState(a.Value[0]) == netlink.OperUp
		}
	}
	return link, nil
}
