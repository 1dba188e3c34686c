package cni

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tare/spec"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// elementsOf counts the elements of the embedded network's maps.
func elementsOf(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "inet", "tare-tct0").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	return strings.Count(string(out), " : 10.123.") + strings.Count(string(out), " : fd00:123:")
}

// With br_netfilter, as kubeadm demands, what crosses the bridge meets the rules with other
// interfaces than what is routed; both have to work.
func TestHostPorts(t *testing.T) {
	for _, value := range []string{"0", "1"} {
		t.Run("br_netfilter="+value, func(t *testing.T) {
			leavesNothing(t)
			for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
				path := "/proc/sys/net/bridge/" + name
				if err := os.WriteFile(path, []byte(value), 0); err != nil && value == "1" {
					t.Skip("no br_netfilter in this kernel:", err)
				}
			}
			testHostPorts(t)
		})
	}
}

func testHostPorts(t *testing.T) {
	n := open(t, options(t))
	server, client := newPod(t, "server"), newPod(t, "client")
	server.PortMappings = []spec.PortMapping{
		hostPort("tcp", 8080, 80, ""),
		hostPort("udp", 8053, 53, ""),
		hostPort("tcp", 8081, 80, "127.0.0.1"),
		hostPort("tcp", 8082, 80, "0.0.0.0"),
		hostPort("sctp", 8083, 80, ""),
		hostPort("tcp", 0, 99, ""),
	}
	addrs := add(t, n, server).IPs
	add(t, n, client)
	serve(t, server, "tcp", 80)
	serve(t, server, "udp", 53)
	const gw4, gw6, host4, host6 = "10.123.1.1", "fd00:123:1::1", "10.123.255.1", "fd00:123:ffff::1"

	tests := []struct {
		name, from, network, ip, port string
		reached                       bool
	}{
		{"host by loopback", "", "tcp", "127.0.0.1", "8080", true},
		{"host by loopback, udp", "", "udp", "127.0.0.1", "8053", true},
		{"host by bridge address", "", "tcp", gw4, "8080", true},
		{"host by bridge address, udp", "", "udp", gw4, "8053", true},
		{"host by bridge address, IPv6", "", "tcp", gw6, "8080", true},
		{"host by own address", "", "tcp", host4, "8080", true},
		{"host by own address, IPv6 udp", "", "udp", host6, "8053", true},
		{"neighbour by host address", client.NetNS, "tcp", host4, "8080", true},
		{"neighbour by bridge address, udp", client.NetNS, "udp", gw4, "8053", true},
		{"neighbour by host address, IPv6", client.NetNS, "tcp", host6, "8080", true},
		{"itself by host address", server.NetNS, "tcp", host4, "8080", true},
		{"itself by host address, IPv6 udp", server.NetNS, "udp", host6, "8053", true},
		{"bound to loopback, by loopback", "", "tcp", "127.0.0.1", "8081", true},
		{"bound to loopback, by another", "", "tcp", host4, "8081", false},
		{"bound to every IPv4", "", "tcp", host4, "8082", true},
		{"bound to every IPv4, by IPv6", "", "tcp", host6, "8082", false},
		{"IPv6 loopback is refused", "", "tcp", "::1", "8080", false},
		{"protocol matters", "", "tcp", "127.0.0.1", "8053", false},
		{"host port 0 asks for nothing", "", "tcp", host4, "99", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := tt.from
			if from == "" {
				from = "/proc/self/ns/net"
			}
			err := within(t, from, func() error {
				name, _, err := ask(tt.network, net.JoinHostPort(tt.ip, tt.port))
				if err == nil && name != "server" {
					return fmt.Errorf("answer of %q", name)
				}
				return err
			})
			switch {
			case tt.reached && err != nil:
				t.Error(err)
			case !tt.reached && !errors.Is(err, unix.ECONNREFUSED):
				t.Errorf("%v, want connection refused", err)
			}
		})
	}

	if err := n.Check(t.Context(), server.ID); err != nil {
		t.Errorf("check: %v", err)
	}
	if got, want := elementsOf(t), 3*len(addrs)+2; got != want {
		// 8080, 8053, 8083 for both families, 8081 and 8082 for IPv4.
		t.Errorf("%d elements, want %d", got, want)
	}
	rival := newPod(t, "rival")
	rival.PortMappings = []spec.PortMapping{hostPort("tcp", 9090, 80, ""), hostPort("tcp", 8080, 80, "")}
	if _, err := n.Add(t.Context(), rival); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a taken port: %v, want FailedPrecondition", err)
	}
	if name, _, err := ask("tcp", "127.0.0.1:8080"); name != "server" {
		t.Errorf("after a rival: %q, %v", name, err)
	}
	del(t, n, server)
	if got := elementsOf(t); got != 0 {
		t.Errorf("%d elements after del", got)
	}
	if _, _, err := ask("tcp", "127.0.0.1:8080"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after del: %v, want connection refused", err)
	}
	del(t, n, client)
	noLeases(t, n)
}

// A client that went on sending while the pod was replaced reaches the new one.
func TestHostPortForgetsUDPFlows(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	c, err := net.Dial("udp", "127.0.0.1:8054")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"first", "second"} {
		c.Write([]byte("?")) // to nobody: makes a flow; the error it brings comes with the next call
		p := newPod(t, name)
		p.PortMappings = []spec.PortMapping{hostPort("udp", 8054, 53, "")}
		add(t, n, p)
		serve(t, p, "udp", 53)
		var got string
		for range 2 { // the first may bring the old error
			if got, err = again(c); err == nil {
				break
			}
		}
		if err != nil || !strings.HasPrefix(got, name) {
			t.Errorf("%s: answer %q, %v", name, got, err)
		}
		del(t, n, p)
	}
}

// A pod must not get at what listens on the host's loopback only, though route_localnet is on.
func TestPodsDoNotReachLoopback(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	p := newPod(t, "attacker")
	add(t, n, p)
	l, err := net.Listen("tcp", "127.0.0.1:82")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go greet(l, "host")
	err = within(t, p.NetNS, func() error {
		// What an attacker with CAP_NET_ADMIN in the pod would do.
		for _, args := range []string{"link set lo down", "addr del 127.0.0.1/8 dev lo", "route add 127.0.0.1/32 via 10.123.1.1 dev eth0"} {
			exec.Command("ip", strings.Fields(args)...).Run()
		}
		_, _, err := ask("tcp", "127.0.0.1:82")
		return err
	})
	if err == nil {
		t.Error("a pod reached the host's loopback")
	}
	del(t, n, p)
}

// TestSharedBridge gives a network of the operator's the embedded one's bridge, as one with another MTU has: what the GC verb of one collects
// is not the other's.
func TestSharedBridge(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	writeConfig(t, o, "10-own.conflist", fmt.Sprintf(`{"cniVersion":"1.1.0","name":"own","plugins":[{"type":"tare-bridge","bridge":"tct0",
		"subnets":["10.123.1.0/24"],"dataDir":%q,"stateDir":%q,"mtu":1400,"capabilities":{"portMappings":true}}]}`, o.DataDir, o.BootDir))
	n := open(t, o)
	p := newPod(t, "server")
	p.PortMappings = []spec.PortMapping{hostPort("tcp", 8080, 80, "")}
	add(t, n, p)
	serve(t, p, "tcp", 80)
	if err := n.GC(t.Context(), []spec.PodID{p.ID}); err != nil {
		t.Fatal(err)
	}
	if name, _, err := ask("tcp", "127.0.0.1:8080"); err != nil || name != "server" {
		t.Errorf("the host port leads to %q, %v", name, err)
	}
	del(t, n, p)
	if left := elementsOf(t); left != 0 {
		t.Errorf("%d elements are left", left)
	}
}
