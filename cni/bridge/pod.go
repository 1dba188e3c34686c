package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// loIndex is the interface index of lo in every network namespace: the first device that a
// namespace registers (net_dev_init, net/core/dev.c).
const loIndex = 1

// dialPod starts to open a netlink socket in the pod's network namespace and to set lo up
// there, and returns what waits for it; the caller closes the handle. It takes a tenth of an
// ADD, in which the host's side can be seen to.
//
// netlink.NewHandleAt moves the thread there and back but does not say whether the way back
// succeeded, so it runs on a thread of its own that is given back only when it was seen to be
// at home; otherwise the thread ends with the goroutine.
func (p *Plugin) dialPod(pod *os.File) (wait func() (*netlink.Handle, error)) {
	type result struct {
		handle *netlink.Handle
		err    error
	}
	done := make(chan result, 1)
	go func() { // ends with its one answer
		runtime.LockOSThread()
		h, err := netlink.NewHandleAt(netns.NsHandle(pod.Fd()), unix.NETLINK_ROUTE)
		if here, e := currentNetNS(); e == nil && here == p.home {
			runtime.UnlockOSThread()
		}
		if err != nil {
			err = fmt.Errorf("netlink in netns %s: %w", pod.Name(), err)
		} else if err = h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loIndex}}); err != nil {
			h.Close()
			err = fmt.Errorf("set lo up: %w", err)
		}
		done <- result{h, err}
	}()
	return sync.OnceValues(func() (*netlink.Handle, error) {
		r := <-done
		runtime.KeepAlive(pod)
		return r.handle, r.err
	})
}

// inode identifies a namespace, namespaces(7).
type inode struct{ dev, ino uint64 }

// currentNetNS is the network namespace of the calling thread.
func currentNetNS() (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return inode{}, &os.PathError{Op: "stat", Path: "/proc/thread-self/ns/net", Err: err}
	}
	return inode{uint64(st.Dev), st.Ino}, nil
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

// configurePod gives the pod's side of the veth its addresses and default routes, and sets it up.
func configurePod(h *netlink.Handle, ifName string, addrs []netip.Prefix) error {
	link, err := h.LinkByName(ifName)
	if err != nil {
		return fmt.Errorf("find %s: %w", ifName, err)
	}
	for _, a := range addrs {
		if err := h.AddrAdd(link, ipAddr(a)); err != nil {
			return fmt.Errorf("address %s on %s: %w", a, ifName, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", ifName, err)
	}
	for _, a := range addrs {
		gw := gateway(a.Masked())
		if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("default route by %s: %w", gw, err)
		}
	}
	return nil
}

const (
	carrierTimeout = time.Second
	carrierPoll    = time.Millisecond
)

// awaitCarrier returns once the named links pass traffic. Without it the pod's first packet may
// be lost to a bridge port that is still disabled, and its retransmission is a second away.
//
// Carrier changes are worked off by the kernel's link watch; asking for a link does that work
// for it at once (since Linux 6.9, commit facd15dfd691), so the first look is enough there.
func awaitCarrier(h *netlink.Handle, names ...string) error {
	deadline := time.Now().Add(carrierTimeout)
	for _, name := range names {
		for {
			link, err := h.LinkByName(name)
			if err != nil {
				return fmt.Errorf("carrier of %s: %w", name, err)
			}
			if link.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("carrier of %s: link is %s: %w", name, link.Attrs().OperState, os.ErrDeadlineExceeded)
			}
			time.Sleep(carrierPoll)
		}
	}
	return nil
}

// checkPod compares the pod's side with what ADD made.
func checkPod(h *netlink.Handle, ifName string, addrs []netip.Addr) error {
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
