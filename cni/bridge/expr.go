package bridge

import (
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	net4Len = 4
	net6Len = 16
	// ctDNAT is IPS_DST_NAT, <linux/netfilter/nf_conntrack_common.h>.
	ctDNAT = 1 << 5
)

// field is a part of the network header.
type field struct{ offset, len uint32 }

var (
	ipv4Saddr = field{12, net4Len}
	ipv4Daddr = field{16, net4Len}
	ipv6Saddr = field{8, net6Len}
	ipv6Daddr = field{24, net6Len}
)

// rule joins matches and statements into one rule's expressions.
func rule(parts ...any) []expr.Any {
	var exprs []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case []expr.Any:
			exprs = append(exprs, p...)
		case expr.Any:
			exprs = append(exprs, p)
		}
	}
	return exprs
}

// ifName matches an interface by name, which outlives the interface, unlike its index.
func ifName(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: data},
	}
}

func nfProto(family byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

func payload(f field, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.len}
}

// loopback matches an IPv4 address in 127.0.0.0/8.
func loopback(f field) []expr.Any {
	f.len = 1
	return append(nfProto(unix.NFPROTO_IPV4), payload(f, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}})
}

// sourceIn matches packets from subnet.
func sourceIn(subnet netip.Prefix) []expr.Any {
	f, family := ipv4Saddr, byte(unix.NFPROTO_IPV4)
	if subnet.Addr().Is6() {
		f, family = ipv6Saddr, unix.NFPROTO_IPV6
	}
	mask := net.CIDRMask(subnet.Bits(), subnet.Addr().BitLen())
	return append(nfProto(family), payload(f, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.len, Mask: mask, Xor: make([]byte, f.len)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: subnet.Addr().AsSlice()})
}

// dnatted matches a connection whose destination was translated.
func dnatted() []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(ctDNAT)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
