package cni

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tare/cni/bridge"
)

// MoveDevices moves network devices of the host into a pod's network namespace, and sets them up: devices has their names here and
// there (runtime-spec, config-linux.md, "Network Devices"). Their permanent addresses of global scope go along. One that is there
// already was moved for another container of the pod. When the pod ends, the kernel gives physical ones back to the host
// (default_device_exit_net, net/core/dev.c), by the names they have then, and removes others.
//
// ErrFailedPrecondition: there is no such device, or it cannot be moved.
func MoveDevices(pod *os.File, devices map[string]string) error {
	if len(devices) == 0 {
		return nil
	}
	there, err := bridge.Links(pod)
	if err != nil {
		return err
	}
	defer there.Close()
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := moveDevice(name, pod, there, devices[name]); err != nil {
			return fmt.Errorf("move network device %s to the pod's %s: %w: %w", name, devices[name], err, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

func moveDevice(name string, pod *os.File, there *netlink.Handle, target string) error {
	link, err := netlink.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		if _, err := there.LinkByName(target); err == nil {
			return nil
		}
	}
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	if err := giveDevice(link.Attrs().Index, pod, target); err != nil {
		return err
	}
	if link, err = there.LinkByName(target); err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_PERMANENT == 0 {
			continue
		}
		if err := there.AddrReplace(link, &netlink.Addr{IPNet: a.IPNet, Broadcast: a.Broadcast, Peer: a.Peer}); err != nil {
			return fmt.Errorf("address %s: %w", a.IPNet, err)
		}
	}
	return there.LinkSetUp(link)
}

// giveDevice moves and renames at once: the old name may be taken there.
func giveDevice(index int, pod *os.File, name string) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(pod.Fd()))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
