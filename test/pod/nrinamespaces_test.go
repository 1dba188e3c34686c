package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPluginSetsSysctls: kernel parameters of a container's namespaces have what a plugin says, those of the host stay.
func TestPluginSetsSysctls(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	leavesNothing(t, d)
	newPlugin(t, d, adjusting("parameters", "10", func(a *api.ContainerAdjustment) {
		a.SetLinuxSysctl("net.core.somaxconn", "77")
		a.SetLinuxSysctl("net/ipv4/conf/eth0/rp_filter", "2")
		a.SetLinuxSysctl("kernel.msgmax", "4321")
	}))
	const files = "/proc/sys/net/core/somaxconn /proc/sys/net/ipv4/conf/eth0/rp_filter /proc/sys/kernel/msgmax"
	hostValues := func() (values string) {
		for _, file := range []string{"/proc/sys/net/core/somaxconn", "/proc/sys/kernel/msgmax"} {
			values += read(t, file)
		}
		return values
	}
	before := hostValues()
	run := func(name, handler string, options ...podOption) {
		t.Run(name, func(t *testing.T) {
			if got := d.runPodBy(t, handler, options...).start(sleeper).exec("cat " + files); got != "77\n2\n4321\n" {
				t.Errorf("the container has %q", got)
			}
		})
	}
	run("native", "")
	run("user namespace", "", inUserNS)
	run("isolated", isolated, inUserNS)
	for _, handler := range handlers {
		run(handler, handler)
	}
	if after := hostValues(); after != before {
		t.Errorf("the host had %q, now %q", before, after)
	}
}

// TestPluginSetsNamespaces: a container has the namespaces that a plugin says instead of its pod's.
func TestPluginSetsNamespaces(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	leavesNothing(t, d)
	other := d.runPod(t)
	stranger := other.start(sleeper)
	for _, handler := range append([]string{""}, handlers...) {
		t.Run(handler, func(t *testing.T) {
			p := d.runPodBy(t, handler)
			plain := p.start(sleeper)
			plugin := newPlugin(t, d, adjusting("namespaces", "10", func(a *api.ContainerAdjustment) {
				a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "network", Path: fmt.Sprintf("/proc/%d/ns/net", stranger.pid())})
				a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "ipc"})
				a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "uts"})
			}))
			defer plugin.stub.Stop()
			c := p.start(sleeper)
			its, others, pods := namespaces(t, c.pid()), namespaces(t, stranger.pid()), namespaces(t, plain.pid())
			if its["net"] != others["net"] || pods["net"] == others["net"] {
				t.Errorf("its network is %s, the other pod's %s, its own pod's %s", its["net"], others["net"], pods["net"])
			}
			for _, kind := range []string{"ipc", "uts"} {
				for _, elsewhere := range []string{others[kind], pods[kind], namespaces(t, os.Getpid())[kind]} {
					if its[kind] == elsewhere {
						t.Errorf("its %s namespace %s is not its own", kind, elsewhere)
					}
				}
			}
			if got, want := c.exec("hostname; ls /sys/class/net; ip -4 -o address show dev eth0"), stranger.exec("ip -4 -o address show dev eth0"); !strings.HasPrefix(got, "pod\n") || !strings.HasSuffix(got, want) {
				t.Errorf("it has %q, the other pod's container %q", got, want)
			}
		})
	}
	path := func(a *api.ContainerAdjustment) {
		a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "uts", Path: "/proc/1/ns/uts"})
	}
	own := func(a *api.ContainerAdjustment) {
		a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "network"})
		a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "ipc"})
	}
	for _, tt := range []struct {
		name, handler string
		adjust        func(*api.ContainerAdjustment)
		word          string // of the refusal; empty: none
	}{
		{"another's in a user namespace", "", path, "/proc/1/ns/uts"},
		{"its own in a user namespace", "", own, ""},
		{"its own of an isolated one", isolated, own, "isolated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plugin := newPlugin(t, d, adjusting("namespaces", "10", tt.adjust))
			defer plugin.stub.Stop()
			p := d.runPodBy(t, tt.handler, inUserNS)
			if tt.word != "" {
				_, err := p.tryCreate(p.containerConfig(sleeper))
				refused(t, err, codes.FailedPrecondition, "namespace", tt.word)
			} else if got := p.start(sleeper).exec("ls /sys/class/net; cat /proc/net/dev | grep -c :"); got != "lo\n1\n" {
				t.Errorf("its network has %q", got)
			}
		})
	}
	newPlugin(t, d, adjusting("host", "10", func(a *api.ContainerAdjustment) { a.RemoveNamespace(&api.LinuxNamespace{Type: "network"}) }))
	if got, want := namespaces(t, d.runPod(t).start(sleeper).pid())["net"], namespaces(t, os.Getpid())["net"]; got != want {
		t.Errorf("without a network namespace it is in %s, the host's is %s", got, want)
	}
}

// TestPluginPlacesMemory looks at a memory policy with the kernel's eyes (numa(7)), and at that of a command in the container.
func TestPluginPlacesMemory(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	newPlugin(t, d, adjusting("memory", "10", func(a *api.ContainerAdjustment) {
		a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "0", api.MpolFlag_MPOL_F_STATIC_NODES)
	}))
	for name, options := range map[string][]podOption{"": nil, "in a user namespace": {inUserNS}} {
		t.Run(name, func(t *testing.T) {
			c := d.runPod(t, options...).start(sleeper)
			maps := read(t, procPath(c.pid(), "numa_maps")) + c.exec("cat /proc/self/numa_maps")
			for line := range strings.Lines(maps) {
				if !strings.Contains(line, " bind=static:0") {
					t.Fatalf("memory of it: %s", line)
				}
			}
		})
	}
}

// hostDevice makes one end of a veth pair, whose name is its device's on the host.
func hostDevice(t *testing.T, name, address string) {
	t.Helper()
	peer := name + "p"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: peer}, PeerName: name}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(peer); err == nil { // it goes with the other end
			_ = netlink.LinkDel(link)
		}
	})
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
}

// TestNetworkDevices are the host's until a container has them, by a plugin or a CDI description, and then its pod's.
func TestNetworkDevices(t *testing.T) {
	config, handlers := ociConfig(t)
	dir := t.TempDir()
	d := ociDaemon(t, fmt.Sprintf("cdi.spec_dirs = [%q]\n%s", dir, config))
	leavesNothing(t, d)
	writeFile(t, filepath.Join(dir, "net.yaml"), `
cdiVersion: 1.1.0
kind: tare.test/net
devices:
- name: a
  containerEdits: {netDevices: [{hostInterfaceName: test-cdi, name: data0}]}
`)
	const look = "ip -o address show dev data0 | grep -o 'inet.* scope global'; cat /sys/class/net/data0/flags"
	has := func(t *testing.T, c *ctr, address string) {
		t.Helper()
		got := c.exec(look)
		if !strings.Contains(got, address) || !strings.HasSuffix(got, "0x1003\n") { // up, netdevice(7)
			t.Errorf("the container's device: %q, want %s", got, address)
		}
	}
	run := func(name, handler string, options ...podOption) {
		t.Run("CDI "+name, func(t *testing.T) {
			hostDevice(t, "test-cdi", "198.51.100.7/24")
			p := d.runPodBy(t, handler, options...)
			has(t, p.start(sleeper, cdiDevices("tare.test/net=a")), "198.51.100.7/24")
			has(t, p.start(sleeper, cdiDevices("tare.test/net=a")), "198.51.100.7/24") // it is there already
			if _, err := netlink.LinkByName("test-cdi"); err == nil {
				t.Error("the host has it, too")
			}
		})
	}
	run("native", "")
	run("user namespace", "", inUserNS)
	run("isolated", isolated, inUserNS)
	for _, handler := range handlers {
		run(handler, handler)
	}
	hostDevice(t, "test-nri", "2001:db8::7/64")
	newPlugin(t, d, adjusting("devices", "10", func(a *api.ContainerAdjustment) { a.AddLinuxNetDevice("test-nri", &api.LinuxNetDevice{Name: "data0"}) }))
	has(t, d.runPod(t).start(sleeper), "2001:db8::7/64")
	p := d.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }))
	_, err := p.tryCreate(p.containerConfig(sleeper))
	refused(t, err, codes.FailedPrecondition, "net_devices", "not the pod's own")
}
