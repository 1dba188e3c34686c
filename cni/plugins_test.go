package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tare/spec"

	"github.com/containerd/errdefs"
)

// reference is the configuration of a node with the CNI project's own plugins.
const reference = `{
  "cniVersion": "1.0.0", "name": "reference",
  "plugins": [
    {"type": "bridge", "bridge": "tctref0", "isGateway": true, "ipMasq": true,
     "ipam": {"type": "host-local", "dataDir": "%s", "ranges": [[{"subnet": "10.123.9.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}`

// writeConfig puts a configuration into the directory that is watched.
func writeConfig(t *testing.T, o Options, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.ConfDir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writePlugin installs a shell script as a plugin.
func writePlugin(t *testing.T, o Options, name, script string) {
	t.Helper()
	if err := os.MkdirAll(o.BinDirs[0], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.BinDirs[0], name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestReferencePlugins(t *testing.T) {
	for _, plugin := range []string{"bridge", "portmap", "host-local"} {
		if _, err := os.Stat("/usr/lib/cni/" + plugin); err != nil {
			t.Skip("no reference plugins (Debian: containernetworking-plugins):", err)
		}
	}
	setSysctl(t, "ipv4/ip_forward", "1") // as the bridge plugin leaves it, for good
	leavesNothing(t)
	t.Cleanup(func() { // what these plugins share between pods is never removed by them
		exec.Command("ip", "link", "del", "tctref0").Run()
		exec.Command("nft", "flush", "ruleset").Run()
	})
	o := options(t)
	leases := t.TempDir()
	writeConfig(t, o, "10-ref.conflist", fmt.Sprintf(reference, leases))
	n := open(t, o)
	p := newPod(t, "p")
	p.PortMappings = []spec.PortMapping{hostPort("tcp", 8080, 80, "")}
	r := add(t, n, p)
	if r.Network != "reference" || len(r.IPs) != 1 || !netip.MustParsePrefix("10.123.9.0/24").Contains(r.IPs[0]) {
		t.Errorf("result %+v", r)
	}
	serve(t, p, "tcp", 80)
	for _, addr := range []string{at(r.IPs[0], 80), "10.123.255.1:8080"} {
		if name, _, err := ask("tcp", addr); name != "p" {
			t.Errorf("%s: %q, %v", addr, name, err)
		}
	}
	plain := newPod(t, "plain")
	add(t, n, plain)
	if err := n.Check(t.Context(), plain.ID); err != nil { // portmap's CHECK needs IPv6 ports too
		t.Errorf("check: %v", err)
	}
	del(t, n, plain)
	if ok, _, message := n.Status(); !ok {
		t.Errorf("status: %s", message)
	}

	// The configuration changes while the pod runs; DEL goes by the one it was added with.
	if err := os.Remove(filepath.Join(o.ConfDir, "10-ref.conflist")); err != nil {
		t.Fatal(err)
	}
	del(t, n, p)
	noLeases(t, n)
	left, err := filepath.Glob(leases + "/reference/10.*")
	if err != nil || len(left) > 0 {
		t.Errorf("leases left: %v, %v", left, err)
	}
	q := newPod(t, "q")
	if r := add(t, n, q); r.Network != "tare" {
		t.Errorf("without a configuration: %+v", r)
	}
	del(t, n, q)
}

// A plugin that answers ADD with the address of its own choice, and does nothing.
const wellBehaved = `case $CNI_COMMAND in
ADD) echo '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.123.8.8/24","interface":0}]}';;
esac`

func conflist(name, version, plugin string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":%q,"plugins":[{"type":%q}]}`, version, name, plugin)
}

func testConfigurationsAreWatched(t *testing.T, o Options) {
	n := open(t, o)
	writePlugin(t, o, "good", wellBehaved)
	current := func(step, want string) {
		t.Helper()
		list, err := n.conf.current()
		if err != nil {
			list = nil
		}
		got := "error"
		if list != nil {
			got = list.Name
		}
		if got != want {
			t.Errorf("%s: network %q, want %q (%v)", step, got, want, err)
		}
	}
	current("no file", "tare")
	writeConfig(t, o, "50-b.conflist", conflist("b", "1.1.0", "good"))
	current("a file appears", "b")
	writeConfig(t, o, "10-a.conf", `{"cniVersion":"0.4.0","name":"a","type":"good"}`)
	current("a lexically earlier one", "a")
	writeConfig(t, o, "10-a.conf", `{"cniVersion":"0.4.0","name":"a2","type":"good"}`)
	current("it is rewritten in place", "a2")
	writeConfig(t, o, "00-broken.conflist", `{"name":`)
	current("an invalid one is skipped", "a2")
	writeConfig(t, o, "README.txt", "not a configuration")
	p := newPod(t, "p")
	if r := add(t, n, p); r.Network != "a2" || r.IPs[0].String() != "10.123.8.8" {
		t.Errorf("result %+v", r)
	}
	os.Remove(filepath.Join(o.ConfDir, "10-a.conf"))
	os.Remove(filepath.Join(o.ConfDir, "50-b.conflist"))
	current("only the invalid one is left", "error")
	if ok, reason, message := n.Status(); ok || reason != notReady || !strings.Contains(message, "00-broken.conflist") {
		t.Errorf("status %v %q %q", ok, reason, message)
	}
	if _, err := n.Add(t.Context(), newPod(t, "q")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("add without usable configuration: %v", err)
	}
	os.RemoveAll(o.ConfDir)
	current("the directory is gone", "tare")
	del(t, n, p)
	noLeases(t, n)
}

func TestPluginsThatMisbehave(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	journal := filepath.Join(t.TempDir(), "calls")
	tests := []struct {
		name, script string
		want         error
		text         string // part of the message
	}{
		{"says no", `echo '{"cniVersion":"1.1.0","code":7,"msg":"no such network","details":"really"}'; exit 1`, nil, "no such network; really"},
		{"asks to try later", `echo '{"code":11,"msg":"busy"}'; exit 1`, errdefs.ErrUnavailable, "busy"},
		{"dies without a word", `exit 3`, nil, "exit status 3"},
		{"complains on stderr", `echo "no route" >&2; exit 1`, nil, "no route"},
		{"is killed", `kill -9 $$`, nil, "signal: killed"},
		{"hangs", `sleep 1000`, context.DeadlineExceeded, "no answer to ADD within 300ms, killed"},
		{"hangs in a child that ignores", `sh -c 'trap "" TERM; sleep 1000'`, context.DeadlineExceeded, "killed"},
		{"prints garbage", `echo 'PANIC: <html>'`, nil, "PANIC: <html>"},
		{"prints nothing", `true`, nil, "printed no result"},
		{"prints null", `echo null`, nil, "no address"},
		{"prints half", `echo '{"cniVersion":"1.1.0","ips":[{"addr'`, nil, "no JSON"},
		{"prints a list", `echo '[1]'`, nil, "bad"},
		{"knows no address", `echo '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"x"}]}'`, nil, "no address"},
		{"floods", `yes | head -c 3000000`, nil, "no JSON"},
		{"points beside its interfaces", `echo '{"cniVersion":"1.1.0","ips":[{"address":"10.123.8.8/24","interface":7}]}'`, nil, "no address"},
	}
	writeConfig(t, o, "10-bad.conflist", conflist("bad", "1.1.0", "bad"))
	p := newPod(t, "p")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := o
			if tt.want == context.DeadlineExceeded { // the others answer, on a busy machine late
				o.Timeout = 300 * time.Millisecond
			}
			n := open(t, o)
			os.Remove(journal)
			writePlugin(t, o, "bad", "echo $CNI_COMMAND >>"+journal+"\n[ $CNI_COMMAND = ADD ] || exit 0\n"+tt.script)
			start := time.Now()
			r, err := n.Add(t.Context(), p)
			if err == nil {
				t.Fatalf("added: %+v", r)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %v with %q", err, tt.want, tt.text)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
			if calls, _ := os.ReadFile(journal); string(calls) != "ADD\nDEL\n" {
				t.Errorf("calls %q, want ADD and DEL", calls)
			}
			noLeases(t, n)
		})
	}
	n := open(t, o)
	os.RemoveAll(o.BinDirs[0])
	if _, err := n.Add(t.Context(), p); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("plugin not installed: %v", err)
	}
	if ok, _, message := n.Status(); ok || !strings.Contains(message, "bad") {
		t.Errorf("status %v %q", ok, message)
	}
	writePlugin(t, o, "bad", "") // so that the pending DEL can succeed
}

// Ending the caller's context ends the plugin, and the DEL is run all the same.
func TestAddInterrupted(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	journal := filepath.Join(t.TempDir(), "calls")
	writePlugin(t, o, "slow", "echo $CNI_COMMAND >>"+journal+"\n[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000")
	writeConfig(t, o, "10.conflist", conflist("slow", "1.0.0", "slow"))
	n := open(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.Add(ctx, newPod(t, "p")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("add: %v", err)
	}
	if calls, _ := os.ReadFile(journal); string(calls) != "ADD\nDEL\n" {
		t.Errorf("calls %q", calls)
	}
	noLeases(t, n)
}

// A DEL that fails is not the caller's business, is repeated, and is swept after a restart.
func TestDelIsRetried(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	fail := filepath.Join(t.TempDir(), "fail")
	writePlugin(t, o, "moody", "[ $CNI_COMMAND = DEL ] && [ -e "+fail+" ] && exit 1\n"+wellBehaved)
	writeConfig(t, o, "10.conflist", conflist("moody", "1.0.0", "moody"))
	n := open(t, o)
	a, b := newPod(t, "a"), newPod(t, "b")
	add(t, n, a)
	add(t, n, b)
	if err := os.WriteFile(fail, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	del(t, n, a)
	if rec, err := n.records.read(a.ID); rec == nil {
		t.Fatalf("record gone although DEL failed: %v", err)
	}
	if err := n.GC(t.Context(), []spec.PodID{b.ID}); err == nil {
		t.Error("GC is silent about a DEL that fails")
	}
	os.Remove(fail)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if rec, _ := n.records.read(a.ID); rec == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("DEL not repeated")
		}
	}
	if err := os.WriteFile(fail, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	del(t, n, b)
	n.Close()
	os.Remove(fail)
	n = open(t, o)
	if err := n.GC(t.Context(), nil); err != nil {
		t.Error(err)
	}
	noLeases(t, n)
}

// Plugins that hang at DEL cost GC and repeated Dels one deadline, not one per pod.
func TestDelHangs(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	o.Timeout = 400 * time.Millisecond
	hang := filepath.Join(t.TempDir(), "hang")
	writePlugin(t, o, "stuck", "[ $CNI_COMMAND = DEL ] && [ -e "+hang+" ] && sleep 1000\n"+wellBehaved)
	writeConfig(t, o, "10.conflist", conflist("stuck", "1.0.0", "stuck"))
	n := open(t, o)
	var pods []Pod
	for i := range 5 {
		p := newPod(t, fmt.Sprintf("p%d", i))
		add(t, n, p)
		pods = append(pods, p)
	}
	n.Close()
	n = open(t, o)
	if err := os.WriteFile(hang, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := n.GC(t.Context(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("GC: %v", err)
	}
	for _, p := range pods {
		del(t, n, p)
	}
	if d := time.Since(start); d >= time.Duration(len(pods))*o.Timeout {
		t.Errorf("took %v", d)
	}
	os.Remove(hang)
	n.Close()
	n = open(t, o)
	if err := n.GC(t.Context(), nil); err != nil {
		t.Error(err)
	}
	noLeases(t, n)
}

// Plugins that hang at GC hold up an ADD for a moment, however many there are.
func TestGCHangs(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	o.Timeout = time.Second
	began := filepath.Join(t.TempDir(), "began")
	writePlugin(t, o, "stuck", "[ $CNI_COMMAND = GC ] && touch "+began+" && sleep 1000\n"+wellBehaved)
	writeConfig(t, o, "10.conflist", `{"cniVersion":"1.1.0","name":"stuck","plugins":[{"type":"stuck"},{"type":"stuck"},{"type":"stuck"}]}`)
	n := open(t, o)
	ended := make(chan error)
	go func() { ended <- n.GC(t.Context(), nil) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(began); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no plugin was asked")
		}
	}
	start := time.Now()
	p := newPod(t, "p")
	add(t, n, p)
	if d := time.Since(start); d >= 2*o.Timeout {
		t.Errorf("ADD took %v", d)
	}
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("GC: %v", err)
	}
	del(t, n, p)
}

func TestStatusVerb(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	n := open(t, o)
	if ok, reason, message := n.Status(); !ok || reason != "" || message != "" {
		t.Errorf("embedded: %v %q %q", ok, reason, message)
	}
	writePlugin(t, o, "sick", `[ $CNI_COMMAND = STATUS ] && { echo '{"code":50,"msg":"no controller"}'; exit 1; }`)
	writeConfig(t, o, "10.conflist", conflist("sick", "1.1.0", "sick"))
	if ok, reason, message := n.Status(); ok || reason != notReady || !strings.Contains(message, "no controller") {
		t.Errorf("sick: %v %q %q", ok, reason, message)
	}
	writeConfig(t, o, "10.conflist", conflist("sick", "1.0.0", "sick")) // knows no STATUS
	if ok, _, message := n.Status(); !ok {
		t.Errorf("before 1.1: %q", message)
	}
}

// What plugins are told: the arguments and capabilities of Kubernetes runtimes.
func TestPluginInput(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	dir := t.TempDir()
	writePlugin(t, o, "nosy", "env >"+dir+"/env.$CNI_COMMAND; cat >"+dir+"/stdin.$CNI_COMMAND\n"+wellBehaved)
	writeConfig(t, o, "10.conflist", `{"cniVersion":"1.0.0","name":"nosy","plugins":[{"type":"nosy","capabilities":
		{"portMappings":true,"dns":true,"ipRanges":true,"cgroupPath":true,"bandwidth":true,"io.kubernetes.cri.pod-annotations":true}}]}`)
	n := open(t, o)
	if err := n.SetPodCIDR([]string{"10.123.7.0/24"}); err != nil {
		t.Fatal(err)
	}
	p := newPod(t, "p")
	p.PortMappings = []spec.PortMapping{hostPort("TCP", 8080, 80, "10.0.0.1"), hostPort("udp", 0, 53, "")}
	p.DNS = spec.DNS{Servers: []string{"10.96.0.10"}, Searches: []string{"svc.local"}, Options: []string{"ndots:5"}}
	p.CgroupPath = "/kubepods/pod1"
	p.Annotations = map[string]string{"kubernetes.io/ingress-bandwidth": "10M", "a": "b"}
	add(t, n, p)
	del(t, n, p)
	for _, verb := range []string{"ADD", "DEL"} {
		env, _ := os.ReadFile(filepath.Join(dir, "env."+verb))
		stdin, _ := os.ReadFile(filepath.Join(dir, "stdin."+verb))
		for _, want := range []string{
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=" + string(p.ID) + ";K8S_POD_UID=uid-p\n",
			"CNI_IFNAME=eth0\n", "CNI_NETNS=" + p.NetNS + "\n", "CNI_CONTAINERID=" + string(p.ID) + "\n",
		} {
			if !strings.Contains(string(env), want) {
				t.Errorf("%s: environment lacks %q", verb, want)
			}
		}
		for _, want := range []string{
			`"portMappings":[{"containerPort":80,"hostIP":"10.0.0.1","hostPort":8080,"protocol":"tcp"}]`,
			`"dns":{"options":["ndots:5"],"searches":["svc.local"],"servers":["10.96.0.10"]}`,
			`"ipRanges":[[{"subnet":"10.123.7.0/24"}]]`, `"cgroupPath":"/kubepods/pod1"`,
			`"ingressRate":10000000`, `"io.kubernetes.cri.pod-annotations":{"a":"b"`,
		} {
			if !strings.Contains(string(stdin), want) {
				t.Errorf("%s: stdin lacks %s:\n%s", verb, want, stdin)
			}
		}
	}
}
