package cni

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tare/spec"
)

const dialTimeout = 3 * time.Second

// serve listens in the pod and answers each connection or datagram with the pod's name and
// the client's address.
func serve(t *testing.T, p Pod, network string, port int) {
	t.Helper()
	err := within(t, p.NetNS, func() error {
		addr := ":" + strconv.Itoa(port)
		if network == "udp" {
			conn, err := net.ListenPacket(network, addr)
			if err == nil {
				t.Cleanup(func() { conn.Close() })
				go echo(conn, p.Name)
			}
			return err
		}
		l, err := net.Listen(network, addr)
		if err == nil {
			t.Cleanup(func() { l.Close() })
			go greet(l, p.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func greet(l net.Listener, name string) { // ends when l is closed
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintf(c, "%s %s\n", name, host)
		c.Close()
	}
}

func echo(conn net.PacketConn, name string) { // ends when conn is closed
	buf := make([]byte, 64)
	for {
		_, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(from.String())
		conn.WriteTo(fmt.Appendf(nil, "%s %s\n", name, host), from)
	}
}

// ask connects and returns who answered, and which address it saw.
func ask(network string, addr string) (name, seen string, err error) {
	c, err := net.DialTimeout(network, addr, dialTimeout)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dialTimeout))
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", "", err
	}
	_, err = fmt.Sscan(line, &name, &seen)
	return name, seen, err
}

// again asks once more over a UDP socket that is there.
func again(c net.Conn) (string, error) {
	c.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func at(a netip.Addr, port int) string { return netip.AddrPortFrom(a, uint16(port)).String() }

func TestPodsReachEachOtherAndTheHost(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	a, b := newPod(t, "a"), newPod(t, "b")
	ra, rb := add(t, n, a), add(t, n, b)
	if len(ra.IPs) != 2 || ra.Interface != "eth0" || ra.Network != "tare" {
		t.Fatalf("result %+v", ra)
	}
	serve(t, b, "tcp", 80)
	for i, ip := range rb.IPs {
		start := time.Now()
		name, _, err := ask("tcp", at(ip, 80))
		if err != nil || name != "b" {
			t.Errorf("host to pod %s: %q, %v", ip, name, err)
		}
		if d := time.Since(start); d >= time.Second { // when the first packet of a connection is sent again, RFC 6298
			t.Errorf("first connection to %s took %v: a packet was lost", ip, d)
		}
		err = within(t, a.NetNS, func() error {
			name, seen, err := ask("tcp", at(ip, 80))
			if err == nil && (name != "b" || seen != ra.IPs[i].String()) {
				err = fmt.Errorf("answer of %q, which saw %s", name, seen)
			}
			return err
		})
		if err != nil {
			t.Errorf("pod to pod %s: %v", ip, err)
		}
	}
	for _, gw := range []string{"10.123.1.1", "fd00:123:1::1", "10.123.255.1", "fd00:123:ffff::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(gw, "81"))
		if err != nil {
			t.Fatal(err)
		}
		go greet(l, "host")
		err = within(t, a.NetNS, func() error {
			_, _, err := ask("tcp", l.Addr().String())
			return err
		})
		if err != nil {
			t.Errorf("pod to host %s: %v", gw, err)
		}
		l.Close()
	}
	for _, p := range []Pod{a, b} {
		if err := n.Check(t.Context(), p.ID); err != nil {
			t.Errorf("check: %v", err)
		}
		del(t, n, p)
		del(t, n, p)
		if err := n.Check(t.Context(), p.ID); err == nil {
			t.Error("check passes after del")
		}
	}
	noLeases(t, n)
}

// TestLinkLocal: only a pod with an IPv6 address of its own has a link-local one, and no port of the bridge has: what those do
// on their own is flooded to every pod.
func TestLinkLocal(t *testing.T) {
	leavesNothing(t)
	for _, test := range []struct {
		name    string
		subnets []string
		want    int
	}{
		{"v4", []string{"10.123.1.0/24"}, 0},
		{"dual", []string{"10.123.1.0/24", "fd00:123:1::/64"}, 1},
	} {
		o := options(t)
		o.Subnets = test.subnets
		n := open(t, o)
		p := newPod(t, test.name)
		add(t, n, p)
		if got := linkLocals(t, "eth0", p.NetNS); got != test.want {
			t.Errorf("%s: the pod has %d link-local addresses, want %d", test.name, got, test.want)
		}
		bridge, err := netlink.LinkByName(o.Bridge)
		if err != nil {
			t.Fatal(err)
		}
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		ports := 0
		for _, l := range links {
			if l.Attrs().MasterIndex == bridge.Attrs().Index {
				ports++
				if got := linkLocals(t, l.Attrs().Name, "/proc/self/ns/net"); got != 0 {
					t.Errorf("%s: port %s has %d link-local addresses", test.name, l.Attrs().Name, got)
				}
			}
		}
		if ports != 1 {
			t.Errorf("%s: the bridge has %d ports, want 1", test.name, ports)
		}
		del(t, n, p)
	}
}

// linkLocals counts a link's, in the namespace at a path.
func linkLocals(t *testing.T, name, netns string) (n int) {
	t.Helper()
	err := within(t, netns, func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		for _, a := range addrs {
			if a.IP.IsLinkLocalUnicast() {
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// noLeases fails if an address is still leased or an attachment still recorded.
func noLeases(t *testing.T, n *Network) {
	t.Helper()
	var left []string
	for _, pattern := range []string{"data/leases/tare/*[0-9]", "data/leases/tare/*.tmp", "data/attachments/*", "boot/results/*"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(n.opts.DataDir), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if base := filepath.Base(f); len(base) < 6 || base[:6] != "cursor" {
				left = append(left, f)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func hostPort(proto string, host, pod int32, ip string) spec.PortMapping {
	return spec.PortMapping{Protocol: proto, HostPort: host, ContainerPort: pod, HostIP: ip}
}
