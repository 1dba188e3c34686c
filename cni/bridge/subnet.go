package bridge

import (
	"fmt"
	"net/netip"
)

// CheckSubnet says whether pods can be addressed from s: it is a unicast network, written
// without host bits, with room for a gateway and a pod.
func CheckSubnet(s netip.Prefix) error {
	switch {
	case !s.IsValid():
		return fmt.Errorf("empty or malformed subnet")
	case s != s.Masked():
		return fmt.Errorf("subnet %s has host bits set: %s is meant", s, s.Masked())
	case s.Addr().BitLen()-s.Bits() < 2:
		return fmt.Errorf("subnet %s has no room for a gateway and a pod", s)
	case s.Addr().Is4In6(), s.Addr().IsMulticast(), s.Addr().IsLoopback(), s.Bits() < 8:
		return fmt.Errorf("subnet %s is not usable for pods", s)
	}
	return nil
}

// gateway is the bridge's own address in s: the first host.
func gateway(s netip.Prefix) netip.Addr { return s.Addr().Next() }

// firstPod is the lowest address a pod can get in s.
func firstPod(s netip.Prefix) netip.Addr { return gateway(s).Next() }

// usable says whether a pod can have a: inside s, above the gateway, and not IPv4's broadcast.
func usable(s netip.Prefix, a netip.Addr) bool {
	return s.Contains(a) && firstPod(s).Compare(a) <= 0 && !(a.Is4() && !s.Contains(a.Next()))
}

// after is the address to try when a is taken: the next, round the end of the subnet.
func after(s netip.Prefix, a netip.Addr) netip.Addr {
	if n := a.Next(); usable(s, n) {
		return n
	}
	return firstPod(s)
}

// byFamily groups subnets by address family, IPv4 first, order otherwise kept.
func byFamily(subnets []netip.Prefix) [][]netip.Prefix {
	var v4, v6 []netip.Prefix
	for _, s := range subnets {
		if s.Addr().Is4() {
			v4 = append(v4, s)
		} else {
			v6 = append(v6, s)
		}
	}
	var families [][]netip.Prefix
	for _, f := range [][]netip.Prefix{v4, v6} {
		if len(f) > 0 {
			families = append(families, f)
		}
	}
	return families
}
