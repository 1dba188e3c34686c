package bridge

import (
	"crypto/sha256"
	"encoding/base32"
	"net"
	"net/netip"
	"strings"
)

// vethPrefix starts the host-side name of every veth of ours, so that GC can tell them.
const vethPrefix = "tare"

// attachment is CNI's: one interface of one container.
type attachment struct {
	containerID string
	ifName      string
}

// owner is the attachment as written into its leases. Neither part can hold a '/'.
func (a attachment) owner() string { return a.containerID + "/" + a.ifName }

// hostName is the name of the veth's host side: 55 bits of a hash of the attachment, which
// fill the 15 bytes that an interface name may have (IFNAMSIZ, <linux/if.h>).
func (a attachment) hostName() string {
	sum := sha256.Sum256([]byte(a.owner()))
	name := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	return vethPrefix + name[:15-len(vethPrefix)]
}

// hardwareAddr derives a pod's MAC from its first address, so that a neighbour's cache entry
// stays right when an address passes from one pod to the next. Locally administered unicast.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		b := a.As4()
		return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
	}
	sum := sha256.Sum256(a.AsSlice())
	return net.HardwareAddr{0x0a, 0x5a, sum[0], sum[1], sum[2], sum[3]}
}
