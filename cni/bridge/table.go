package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tablePrefix starts the name of every nftables table of ours, "tare-<bridge>".
const tablePrefix = "tare-"

// table is one bridge's nftables table, of family inet. Its rules never change with the pods;
// pods with host ports are elements of its maps:
//
//	map ports4    { type inet_proto . inet_service : ipv4_addr . inet_service; }
//	map ports4_ip { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
//	map ports6, ports6_ip, the same for ipv6_addr
//	chain guard       hook prerouting priority raw: no loopback address comes from a pod
//	chain prerouting  hook prerouting, nat: what is addressed to the host, jump hostports
//	chain output      hook output, nat: the same for the host's own connections
//	chain hostports   dnat by the maps, the one with the host's address first
//	chain postrouting hook postrouting, nat: masquerade
//
// One connection is kept open: after a transaction that removed something, the close(2) of any
// nfnetlink socket waits an RCU grace period for what was removed to be freed, 10 ms and more
// (nft_rcv_nl_event, net/netfilter/nf_tables_api.c).
type table struct {
	bridge     string
	masquerade bool
	nft        *nftables.Table
	maps       [4]*nftables.Set // by portMap

	// mu is held for a whole transaction, as package nftables collects messages in the
	// connection until they are flushed.
	mu   sync.Mutex
	conn *nftables.Conn // nil: not open
}

// portMap numbers a table's maps.
type portMap int

const (
	ports4 portMap = iota
	ports4IP
	ports6
	ports6IP
)

var portMapNames = [...]string{"ports4", "ports4_ip", "ports6", "ports6_ip"}

func newTable(c *Config) *table {
	t := &table{
		bridge:     c.Bridge,
		masquerade: !c.NoMasquerade,
		nft:        &nftables.Table{Name: tablePrefix + c.Bridge, Family: nftables.TableFamilyINet},
	}
	port := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	target4 := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	target6 := nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	t.maps = [...]*nftables.Set{
		ports4:   t.newMap(ports4, target4, port...),
		ports4IP: t.newMap(ports4IP, target4, append([]nftables.SetDatatype{nftables.TypeIPAddr}, port...)...),
		ports6:   t.newMap(ports6, target6, port...),
		ports6IP: t.newMap(ports6IP, target6, append([]nftables.SetDatatype{nftables.TypeIP6Addr}, port...)...),
	}
	return t
}

// transact runs f on the connection, which is opened if need be. After an error it is given
// up, as answers to the rest of a failed batch may still be on their way.
func (t *table) transact(f func(c *nftables.Conn) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return fmt.Errorf("open nftables: %w", err)
		}
		t.conn = c
	}
	if err := f(t.conn); err != nil {
		return errors.Join(err, t.closeConn())
	}
	return nil
}

// closeConn is idempotent. Preconditions: mu is held.
func (t *table) closeConn() error {
	if t.conn == nil {
		return nil
	}
	defer func() { t.conn = nil }()
	return t.conn.CloseLasting()
}

// close is idempotent.
func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closeConn()
}

// newMap describes a map; its id is what rules of the same transaction know it by.
func (t *table) newMap(m portMap, target nftables.SetDatatype, key ...nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{
		Table: t.nft, ID: uint32(m) + 1, Name: portMapNames[m],
		IsMap: true, Concatenation: true,
		KeyType: nftables.MustConcatSetType(key...), DataType: target,
	}
}

// ensure makes the table, or renews the rules of one that is there and keeps its elements. One
// transaction, so no packet meets half of it, and whoever does the same at the same time
// leaves the same result.
func (t *table) ensure(subnets []netip.Prefix) error {
	chains := t.chains(subnets)
	err := t.transact(func(c *nftables.Conn) error {
		c.AddTable(t.nft)
		for _, m := range t.maps {
			if err := c.AddSet(m, nil); err != nil {
				return err
			}
		}
		for _, ch := range chains {
			c.AddChain(ch.chain)
			c.FlushChain(ch.chain)
		}
		for _, ch := range chains {
			for _, exprs := range ch.rules {
				c.AddRule(&nftables.Rule{Table: t.nft, Chain: ch.chain, Exprs: exprs})
			}
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("nftables table %s (kernel with nf_tables, nat, masq and fib?): %w", t.nft.Name, err)
	}
	return nil
}

// exists asks the kernel; somebody may have flushed the whole ruleset.
func (t *table) exists() (bool, error) {
	err := t.transact(func(c *nftables.Conn) error {
		_, err := c.ListTableOfFamily(t.nft.Name, t.nft.Family)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("nftables table %s: %w", t.nft.Name, err)
	}
	return true, nil
}

// remove deletes the table with all it holds. Idempotent.
func (t *table) remove() error {
	err := t.transact(func(c *nftables.Conn) error {
		c.DelTable(t.nft)
		return c.Flush()
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove nftables table %s: %w", t.nft.Name, err)
	}
	return nil
}

// others lists the tables of further bridges of ours.
func (t *table) others() (names []string, err error) {
	err = t.transact(func(c *nftables.Conn) error {
		all, err := c.ListTablesOfFamily(t.nft.Family)
		for _, o := range all {
			if strings.HasPrefix(o.Name, tablePrefix) && o.Name != t.nft.Name {
				names = append(names, o.Name)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	return names, nil
}

type chainRules struct {
	chain *nftables.Chain
	rules [][]expr.Any
}

func (t *table) chains(subnets []netip.Prefix) []chainRules {
	base := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: t.nft, Type: typ, Hooknum: hook, Priority: prio}
	}
	nat := nftables.ChainTypeNAT
	return []chainRules{
		{&nftables.Chain{Name: "hostports", Table: t.nft}, t.dnatRules()},
		{base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw), t.guardRules()},
		{base("prerouting", nat, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest), toHostRules()},
		{base("output", nat, nftables.ChainHookOutput, nftables.ChainPriorityNATDest), toHostRules()},
		{base("postrouting", nat, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource), t.postroutingRules(subnets)},
	}
}

// guardRules run before connection tracking, where an answer to a connection that came by
// 127.0.0.1 still carries the bridge's address: any loopback address here is a pod's attempt
// to use route_localnet.
func (t *table) guardRules() [][]expr.Any {
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	return [][]expr.Any{
		rule(ifName(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.bridge), loopback(ipv4Daddr), drop),
		rule(ifName(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.bridge), loopback(ipv4Saddr), drop),
	}
}

// toHostRules: fib daddr type local jump hostports. Not ::1, which IPv6 lets nobody route: a
// connection to it should be refused, not time out.
func toHostRules() [][]expr.Any {
	jump := &expr.Verdict{Kind: expr.VerdictJump, Chain: "hostports"}
	local := []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
	loopback6 := make([]byte, 16)
	loopback6[15] = 1
	return [][]expr.Any{
		rule(nfProto(unix.NFPROTO_IPV6),
			[]expr.Any{payload(ipv6Daddr, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: loopback6}},
			&expr.Verdict{Kind: expr.VerdictReturn}),
		rule(local, jump),
	}
}

// dnatRules: dnat to [daddr .] l4proto . dport map @m, for each of the maps. An expression
// that finds no element ends its rule, and the next one is tried.
func (t *table) dnatRules() [][]expr.Any {
	return [][]expr.Any{
		t.dnat(ports4IP, unix.NFPROTO_IPV4, &ipv4Daddr),
		t.dnat(ports4, unix.NFPROTO_IPV4, nil),
		t.dnat(ports6IP, unix.NFPROTO_IPV6, &ipv6Daddr),
		t.dnat(ports6, unix.NFPROTO_IPV6, nil),
	}
}

// reg32 is the first of the sixteen 4-byte registers, which concatenations are built in
// (NFT_REG32_00, <linux/netfilter/nf_tables.h>).
const reg32 = unix.NFT_REG32_00

func (t *table) dnat(m portMap, family byte, daddr *field) []expr.Any {
	exprs := nfProto(family)
	reg := uint32(reg32)
	if daddr != nil {
		exprs = append(exprs, payload(*daddr, reg))
		reg += daddr.len / 4
	}
	target := uint32(net4Len)
	if family == unix.NFPROTO_IPV6 {
		target = net6Len
	}
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Payload{DestRegister: reg + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg32, DestRegister: reg32, IsDestRegSet: true, SetID: t.maps[m].ID, SetName: t.maps[m].Name},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: uint32(family),
			RegAddrMin: reg32, RegProtoMin: reg32 + target/4, Specified: true,
		})
}

// postroutingRules decide on a connection's first packet which answers have to come back here.
func (t *table) postroutingRules(subnets []netip.Prefix) [][]expr.Any {
	masq := &expr.Masq{}
	rules := [][]expr.Any{
		// The host reached a pod by 127.0.0.1:port.
		rule(ifName(expr.MetaKeyOIFNAME, expr.CmpOpEq, t.bridge), loopback(ipv4Saddr), masq),
	}
	// A pod reached its neighbour, or itself, by a port of the host: the answer would otherwise
	// go straight over the bridge, or never leave the pod. By subnet, as with br_netfilter the
	// packet has no incoming interface here (br_nf_post_routing).
	for _, s := range subnets {
		rules = append(rules, rule(ifName(expr.MetaKeyOIFNAME, expr.CmpOpEq, t.bridge), sourceIn(s), dnatted(), masq))
	}
	if t.masquerade {
		// A pod speaks to the world. By interface, not by subnet, so that a change of the
		// pod CIDR changes no rule (iifname at postrouting: since Linux 5.6).
		rules = append(rules, rule(ifName(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.bridge),
			ifName(expr.MetaKeyOIFNAME, expr.CmpOpNeq, t.bridge), masq))
	}
	return rules
}
