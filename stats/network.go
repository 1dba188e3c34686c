package stats

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Interface is what a network interface of a pod has carried.
type Interface struct {
	Name   string // printable; what is not is escaped
	Rx, Tx Traffic
}

// Traffic is what went in one direction.
type Traffic struct{ Bytes, Packets, Errors, Dropped uint64 }

// interfaces reads the counters of all interfaces of a network namespace that is bound at path. It enters
// nothing: the host's rtnetlink answers for a namespace that it knows by a number (IFLA_TARGET_NETNSID, Linux
// 4.20), which the kernel has given already to one that a veth leads to.
func interfaces(path string) ([]Interface, error) {
	ns, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read network usage: %w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read network usage: %w", err)
	}
	defer ns.Close()
	id, err := namespaceID(int(ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read network usage of %s: %w", path, err)
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(id))))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("read network usage of %s: %w", path, err)
	}
	var out []Interface
	for _, m := range messages {
		i, err := parseLink(m)
		if err != nil {
			return nil, fmt.Errorf("read network usage of %s: %w", path, err)
		}
		out = append(out, i)
	}
	return out, nil
}

// namespaceID is the number of a network namespace in ours; one that has none gets the next that is
// free. It lasts as long as the namespace.
func namespaceID(fd int) (int, error) {
	id, err := netlink.GetNetNsIdByFd(fd)
	if err != nil || id >= 0 {
		return id, err
	}
	const next = -1
	if err := netlink.SetNetNsIdByFd(fd, next); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	return netlink.GetNetNsIdByFd(fd)
}

// parseLink reads name and counters of an RTM_NEWLINK message, rtnetlink(7).
func parseLink(message []byte) (Interface, error) {
	var out Interface
	if len(message) < unix.SizeofIfInfomsg {
		return out, fmt.Errorf("link message of %d bytes", len(message))
	}
	attrs, err := nl.ParseRouteAttr(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return out, err
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			out.Name = printable(unix.ByteSliceToString(a.Value))
		case unix.IFLA_STATS64:
			out.Rx, out.Tx, err = parseTraffic(a.Value)
		}
	}
	return out, err
}

// printable shows a name that a container may have given, and that may be no text (dev_valid_name in net/core/dev.c): as it is in a
// quoted string of Go, so that no two look alike.
func printable(name string) string {
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}

// parseTraffic reads the beginning of a struct rtnl_link_stats64 (linux/if_link.h): packets, bytes,
// errors, dropped, of each first the received.
func parseTraffic(value []byte) (rx, tx Traffic, err error) {
	var n [8]uint64
	if len(value) < 8*len(n) {
		return rx, tx, fmt.Errorf("link counters of %d bytes", len(value))
	}
	for i := range n {
		n[i] = binary.NativeEndian.Uint64(value[8*i:])
	}
	rx = Traffic{Packets: n[0], Bytes: n[2], Errors: n[4], Dropped: n[6]}
	tx = Traffic{Packets: n[1], Bytes: n[3], Errors: n[5], Dropped: n[7]}
	return rx, tx, nil
}
