package cni

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tare/spec"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/vishvananda/netlink"
)

// ports lists the bridge's ports.
func ports(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "tare") {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

func TestLeasesSurviveReopen(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	n := open(t, o)
	a := newPod(t, "a")
	first := add(t, n, a)
	n.Close()

	n = open(t, o)
	if err := n.GC(t.Context(), []spec.PodID{a.ID}); err != nil {
		t.Fatal(err)
	}
	if err := n.Check(t.Context(), a.ID); err != nil {
		t.Errorf("after reopen and GC: %v", err)
	}
	b := newPod(t, "b")
	if second := add(t, n, b); slices.Equal(second.IPs, first.IPs) {
		t.Errorf("%v given twice", first.IPs)
	}
	del(t, n, a)
	c := newPod(t, "c")
	if third := add(t, n, c); slices.Equal(third.IPs, first.IPs) {
		t.Errorf("%v reused at once", first.IPs)
	}
	del(t, n, b)
	del(t, n, c)
	noLeases(t, n)
}

func TestExhaustion(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	o.Subnets = []string{"fd00:123:1::/64", "10.123.1.0/30"} // room for one pod
	n := open(t, o)
	a, b := newPod(t, "a"), newPod(t, "b")
	r := add(t, n, a)
	if want := netip.MustParseAddr("10.123.1.2"); r.IPs[0] != want {
		t.Errorf("address %v, want %v", r.IPs, want)
	}
	_, err := n.Add(t.Context(), b)
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("%v, want ResourceExhausted", err)
	}
	if got := ports(t); len(got) != 1 {
		t.Errorf("ports %v after an ADD that failed", got)
	}
	del(t, n, a)
	noLeases(t, n)
	add(t, n, b)
	del(t, n, b)
}

func TestDelAfterNamespaceVanished(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	for _, leaveFile := range []bool{false, true} {
		p := newPod(t, "p")
		p.PortMappings = []spec.PortMapping{hostPort("tcp", 8080, 80, "")}
		add(t, n, p)
		removeNetNS(t, p.NetNS)
		if leaveFile { // a crash between unmount and unlink
			if err := os.WriteFile(p.NetNS, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		del(t, n, p)
		if got := elementsOf(t); got != 0 {
			t.Errorf("%d host ports left", got)
		}
		noLeases(t, n)
		os.Remove(p.NetNS)
	}
}

func TestBadPod(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	good := newPod(t, "good")
	tests := []struct {
		name  string
		spoil func(*Pod)
	}{
		{"no id", func(p *Pod) { p.ID = "" }},
		{"no namespace", func(p *Pod) { p.NetNS = "" }},
		{"namespace is a plain file", func(p *Pod) { p.NetNS = "/etc/hostname" }},
		{"namespace is not there", func(p *Pod) { p.NetNS = "/run/netns/nowhere" }},
		{"name breaks CNI_ARGS", func(p *Pod) { p.Name = "a;IP=10.0.0.1" }},
		{"unknown protocol", func(p *Pod) { p.PortMappings = []spec.PortMapping{hostPort("icmp", 1, 1, "")} }},
		{"host address is none", func(p *Pod) { p.PortMappings = []spec.PortMapping{hostPort("tcp", 1, 1, "localhost")} }},
		{"bandwidth is none", func(p *Pod) { p.Annotations = map[string]string{"kubernetes.io/egress-bandwidth": "fast"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			tt.spoil(&p)
			if r, err := n.Add(t.Context(), p); err == nil {
				t.Errorf("added: %+v", r)
			}
			noLeases(t, n)
		})
	}
	if err := n.Del(t.Context(), ""); !errdefs.IsInvalidArgument(err) {
		t.Errorf("del without id: %v", err)
	}
	if err := n.Del(t.Context(), spec.NewPodID()); err != nil {
		t.Errorf("del of unknown: %v", err)
	}
	if err := n.Check(t.Context(), spec.NewPodID()); !errdefs.IsNotFound(err) {
		t.Errorf("check of unknown: %v", err)
	}
	add(t, n, good)
	if _, err := n.Add(t.Context(), good); !errdefs.IsAlreadyExists(err) {
		t.Errorf("add twice: %v", err)
	}
	if err := n.Check(t.Context(), good.ID); err != nil {
		t.Errorf("after a second add: %v", err)
	}
	del(t, n, good)
}

// What a crash leaves at each step of an ADD is swept by the next start's GC: a record alone,
// and everything but a record.
func TestGCAfterCrash(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	n := open(t, o)
	live, dead, unrecorded := newPod(t, "live"), newPod(t, "dead"), newPod(t, "unrecorded")
	for i, p := range []*Pod{&live, &dead, &unrecorded} {
		p.PortMappings = []spec.PortMapping{hostPort("tcp", int32(8000+i), 80, "")}
		add(t, n, *p)
	}
	intent := Pod{ID: spec.NewPodID(), Name: "intent", NetNS: "/run/netns/never-made"}
	list, err := n.conf.current()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := n.plan(intent, list)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.records.write(rec); err != nil {
		t.Fatal(err)
	}
	if err := n.records.remove(unrecorded.ID); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(o.DataDir, "attachments", string(spec.NewPodID())+".json")
	if err := os.WriteFile(torn, []byte(`{"Pod":`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Close()

	n = open(t, o)
	if err := n.GC(t.Context(), []spec.PodID{live.ID}); err != nil {
		t.Fatal(err)
	}
	if err := n.Check(t.Context(), live.ID); err != nil {
		t.Errorf("the live pod: %v", err)
	}
	if got := ports(t); len(got) != 1 {
		t.Errorf("ports %v, want one", got)
	}
	if got := elementsOf(t); got != 2 {
		t.Errorf("%d host port elements, want 2", got)
	}
	del(t, n, live)
	noLeases(t, n)
}

// A pod that came up while the caller made its list is spared; one that stays unknown is not.
func TestGCSparesNewPods(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	p := newPod(t, "p")
	add(t, n, p)
	for round, want := range []int{1, 0} {
		if err := n.GC(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := ports(t); len(got) != want {
			t.Errorf("GC %d: ports %v, want %d", round, got, want)
		}
	}
	noLeases(t, n)
}

// The ruleset may be flushed and the bridge deleted by others: the next ADD makes them again.
func TestRepair(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	n := open(t, o)
	a := newPod(t, "a")
	add(t, n, a)
	for _, args := range [][]string{{"nft", "flush", "ruleset"}, {"ip", "link", "del", "tct0"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := n.Check(t.Context(), a.ID); err == nil {
			t.Errorf("check passes after %v", args)
		}
		n.Close() // whatever is remembered goes
		n = open(t, o)
		b := newPod(t, "b"+args[0])
		add(t, n, b)
		if err := n.Check(t.Context(), b.ID); err != nil {
			t.Errorf("after %v: %v", args, err)
		}
		del(t, n, b)
	}
	del(t, n, a)
}

func TestPodCIDR(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	n := open(t, o)
	bad := [][]string{{"10.1.1.0/33"}, {"10.1.1.1/24"}, {"10.1.1.0/31"}, {"x"}, {""}, {"10.1.0.0/24", "10.2.0.0/24"}, {"224.0.0.0/8"}, {"127.0.0.0/8"}}
	for _, cidrs := range bad {
		if err := n.SetPodCIDR(cidrs); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, want InvalidArgument", cidrs, err)
		}
	}
	old := newPod(t, "old")
	before := add(t, n, old)
	if err := n.SetPodCIDR(nil); err != nil {
		t.Error(err)
	}
	if err := n.SetPodCIDR([]string{"10.123.7.0/24"}); err != nil {
		t.Fatal(err)
	}
	young := newPod(t, "young")
	r := add(t, n, young)
	if len(r.IPs) != 1 || !netip.MustParsePrefix("10.123.7.0/24").Contains(r.IPs[0]) {
		t.Errorf("after the change: %v", r.IPs)
	}
	serve(t, old, "tcp", 80)
	err := within(t, young.NetNS, func() error {
		_, _, err := ask("tcp", at(before.IPs[0], 80))
		return err
	})
	if err != nil {
		t.Errorf("new pod to old pod: %v", err)
	}
	for _, p := range []Pod{old, young} {
		if err := n.Check(t.Context(), p.ID); err != nil {
			t.Error(err)
		}
	}
	n.Close()
	n = open(t, o)
	late := newPod(t, "late")
	if r := add(t, n, late); !netip.MustParsePrefix("10.123.7.0/24").Contains(r.IPs[0]) {
		t.Errorf("after a restart: %v", r.IPs)
	}
	for _, p := range []Pod{old, young, late} {
		del(t, n, p)
	}
	noLeases(t, n)
}

func TestTeardownRestoresTheHost(t *testing.T) {
	setSysctl(t, "ipv4/ip_forward", "0")
	setSysctl(t, "ipv6/conf/all/forwarding", "0")
	leavesNothing(t)
	before := readHost(t)
	n := open(t, options(t))
	p := newPod(t, "p")
	add(t, n, p)
	if during := readHost(t); !strings.Contains(during.sysctls, "accept_ra=2") || !strings.Contains(during.sysctls, "ip_forward=1") {
		t.Errorf("sysctls %s", during.sysctls)
	}
	for range 2 {
		if err := n.Teardown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	after := readHost(t)
	if after.links != before.links || after.tables != before.tables || after.sysctls != before.sysctls {
		t.Errorf("after teardown:\n%+v\nbefore:\n%+v", after, before)
	}
}

// Many pods at once get addresses of their own.
func TestConcurrentPods(t *testing.T) {
	leavesNothing(t)
	n := open(t, options(t))
	const pods = 24
	results := make(chan string, pods)
	for i := range pods {
		p := newPod(t, fmt.Sprintf("p%d", i))
		go func() {
			r, err := n.Add(context.Background(), p)
			if err == nil {
				err = n.Check(context.Background(), p.ID)
			}
			if err == nil {
				err = n.Del(context.Background(), p.ID)
			}
			results <- fmt.Sprint(r.IPs, err)
		}()
	}
	seen := make(map[string]bool)
	for range pods {
		r := <-results
		if seen[r] || !strings.Contains(r, "<nil>") {
			t.Errorf("pod: %s", r)
		}
		seen[r] = true
	}
	noLeases(t, n)
}

// The same plugin as an ordinary binary, run by libcni as any runtime would.
func TestBinary(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "tare-bridge"), "tare/cmd/tare-bridge").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	n := open(t, o) // for teardown
	list := n.conf.embeddedList()
	c := libcni.NewCNIConfigWithCacheDir([]string{bin}, t.TempDir(), nil)
	p := newPod(t, "p")
	mappings, err := portMappings([]spec.PortMapping{hostPort("tcp", 8080, 80, "")})
	if err != nil {
		t.Fatal(err)
	}
	rt := &libcni.RuntimeConf{
		ContainerID: string(p.ID), NetNS: p.NetNS, IfName: "eth0",
		CapabilityArgs: map[string]any{"portMappings": mappings},
	}
	ctx := t.Context()
	if err := c.GetStatusNetworkList(ctx, list); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	if _, err := c.ValidateNetworkList(ctx, list); err != nil {
		t.Errorf("VERSION: %v", err)
	}
	if _, err := c.AddNetworkList(ctx, list, rt); err != nil {
		t.Fatalf("ADD: %v", err)
	}
	serve(t, p, "tcp", 80)
	if name, _, err := ask("tcp", "127.0.0.1:8080"); name != "p" {
		t.Errorf("%q, %v", name, err)
	}
	if err := c.CheckNetworkList(ctx, list, rt); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	for range 2 {
		if err := c.DelNetworkList(ctx, list, rt); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if err := c.GCNetworkList(ctx, list, &libcni.GCArgs{}); err != nil {
		t.Errorf("GC: %v", err)
	}
	noLeases(t, n)
}
