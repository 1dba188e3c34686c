package pod

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// get fetches a page from the host.
func get(url string) (string, error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// webServer is a container that answers on port 8080.
var webServer = script("mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www")

func answers(t *testing.T, url, want string) {
	t.Helper()
	await(t, url+" answers", func() error {
		got, err := get(url)
		if err == nil && got != want {
			err = fmt.Errorf("it says %q, want %q", got, want)
		}
		return err
	})
}

func TestHostPort(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) {
		c.PortMappings = []*runtime.PortMapping{
			{HostPort: 28080, ContainerPort: 8080},
			{HostPort: 28081, ContainerPort: 8080, HostIp: "127.0.0.1"},
			{HostPort: 0, ContainerPort: 9999},
		}
	})
	p.start(webServer)
	answers(t, "http://"+net.JoinHostPort(p.ip(), "8080")+"/", "page\n")
	answers(t, "http://127.0.0.1:28080/", "page\n")
	answers(t, "http://127.0.0.1:28081/", "page\n")
	other := suite.shared.runPod(t).start(sleeper)
	if got := other.exec("wget -qO- http://" + p.ip() + ":8080/"); got != "page\n" {
		t.Errorf("another pod gets %q", got)
	}
	p.remove()
	if got, err := get("http://127.0.0.1:28080/"); err == nil {
		t.Errorf("the port of a pod that was removed says %q", got)
	}
}

func TestPodFiles(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) {
		c.Hostname = "my-name"
		c.DnsConfig = &runtime.DNSConfig{
			Servers: []string{"10.0.0.10", "fd00::10"}, Searches: []string{"a.example", "b.example"}, Options: []string{"ndots:5", "edns0"},
		}
	})
	c := p.start(sleeper)
	for cmd, want := range map[string]string{
		"cat /etc/resolv.conf": "search a.example b.example\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5 edns0\n",
		"cat /etc/hostname":    "my-name\n",
		"hostname":             "my-name\n",
		"echo $HOSTNAME":       "my-name\n",
		"grep -c '^127.0.0.1[[:space:]]*localhost' /etc/hosts":          "1\n",
		"grep my-name /etc/hosts | cut -f1":                             p.ip() + "\n",
		"ip -o -4 addr show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'": p.ip() + "\n",
	} {
		if got := c.exec(cmd); got != want {
			t.Errorf("%s: got %q, want %q", cmd, got, want)
		}
	}
	c.exec("echo 1.2.3.4 x >> /etc/hosts") // containers of a pod share the files
	if got := p.start(sleeper).exec("tail -n1 /etc/hosts"); got != "1.2.3.4 x\n" {
		t.Errorf("the neighbour's /etc/hosts ends with %q", got)
	}
	mine := t.TempDir() + "/hosts"
	writeFile(t, mine, "mine\n")
	if got := p.start(sleeper, volume(&runtime.Mount{HostPath: mine, ContainerPath: "/etc/hosts"})).exec("cat /etc/hosts"); got != "mine\n" {
		t.Errorf("a container with an /etc/hosts of its own has %q", got)
	}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip(err)
	}
	if got := suite.shared.runPod(t).start(sleeper).exec("cat /etc/resolv.conf"); got != string(host) {
		t.Errorf("without a DNS configuration resolv.conf is %q, want the host's", got)
	}
}

func TestSysctls(t *testing.T) {
	leavesNothing(t, suite.shared)
	before, err := os.ReadFile("/proc/sys/kernel/shmmni")
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]podOption{nil, {inUserNS}} {
		p := suite.shared.runPod(t, append(options, func(c *runtime.PodSandboxConfig) {
			c.Linux.Sysctls = map[string]string{"net.ipv4.ip_local_port_range": "20000\t30000", "kernel/shmmni": "1234", "net.ipv4.ip_unprivileged_port_start": "99", "fs.mqueue.msg_max": "77"}
		})...)
		c := p.start(sleeper)
		want := "20000\t30000\n1234\n99\n77\n"
		if got := c.exec("cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shmmni net/ipv4/ip_unprivileged_port_start fs/mqueue/msg_max"); got != want {
			t.Errorf("sysctls are %q, want %q", got, want)
		}
	}
	if after, err := os.ReadFile("/proc/sys/kernel/shmmni"); err != nil || string(after) != string(before) {
		t.Errorf("shmmni of the host is %q, was %q, %v", after, before, err)
	}
	plain := suite.shared.runPod(t).start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.RunAsUser = &runtime.Int64Value{Value: 1000}
	}))
	if got := plain.exec("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"); got != "0\n" {
		t.Errorf("ip_unprivileged_port_start is %q", got)
	}
}

// TestTwoDaemons runs another daemon beside the shared one, and gives it another range of addresses.
func TestTwoDaemons(t *testing.T) {
	leavesNothing(t, suite.shared)
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p, q := suite.shared.runPod(t), d.runPod(t)
	p.start(webServer)
	q.start(webServer)
	for _, x := range []*pod{p, q} {
		answers(t, "http://"+net.JoinHostPort(x.ip(), "8080")+"/", "page\n")
		if items := x.inventory(t); len(items) != 2 {
			t.Errorf("daemon %s knows of %v", x.name, items)
		}
	}
	network := func(ip string) string { return ip[:strings.LastIndex(ip, ".")] } // each has a /24
	if network(p.ip()) == network(q.ip()) {
		t.Errorf("addresses %s and %s are of one network", p.ip(), q.ip())
	}
	_, err := d.runtime.UpdateRuntimeConfig(deadline(t), &runtime.UpdateRuntimeConfigRequest{
		RuntimeConfig: &runtime.RuntimeConfig{NetworkConfig: &runtime.NetworkConfig{PodCidr: "10.250.7.0/24"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	later := d.runPod(t)
	if ip := later.ip(); !strings.HasPrefix(ip, "10.250.7.") {
		t.Errorf("address %s, want one of 10.250.7.0/24", ip)
	}
	later.start(webServer)
	answers(t, "http://"+net.JoinHostPort(later.ip(), "8080")+"/", "page\n")
	answers(t, "http://"+net.JoinHostPort(q.ip(), "8080")+"/", "page\n")
}

func TestHostNetworkPorts(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }),
		func(c *runtime.PodSandboxConfig) { c.Hostname = "" })
	p.start(script("mkdir /www; echo page > /www/index.html; exec httpd -f -p 28082 -h /www"))
	answers(t, "http://127.0.0.1:28082/", "page\n")
	host, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Skip(err)
	}
	if got := p.start(sleeper).exec("cat /etc/hosts"); got != string(host) {
		t.Errorf("/etc/hosts is %q, want the host's", got)
	}
}

// TestPluginArguments has a plugin of the operator's note what it is told of a pod by capabilities.
func TestPluginArguments(t *testing.T) {
	d := ownDaemon(t, options{})
	said := d.path("said")
	if err := os.MkdirAll(d.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\ncase $CNI_COMMAND in ADD) cat > " + said + "; " + scriptedResult + " ;; esac\n"
	if err := os.WriteFile(d.path("bin/told"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.path("net.d/10-told.conflist"), `{"cniVersion":"1.0.0","name":"told","plugins":[{"type":"told","capabilities":
		{"dns":true,"portMappings":true,"io.kubernetes.cri.pod-annotations":true}}]}`)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	d.runPod(t, func(c *runtime.PodSandboxConfig) {
		c.DnsConfig = &runtime.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"svc.local"}, Options: []string{"ndots:5"}}
		c.PortMappings = []*runtime.PortMapping{{HostPort: 8080, ContainerPort: 80}}
		c.Annotations = map[string]string{"key": "value"}
	})
	text, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ RuntimeConfig map[string]any }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dns", "portMappings", "io.kubernetes.cri.pod-annotations"} {
		if got.RuntimeConfig[name] == nil {
			t.Errorf("no %s in %v", name, got.RuntimeConfig)
		}
	}
	want := map[string]any{"servers": []any{"10.96.0.10"}, "searches": []any{"svc.local"}, "options": []any{"ndots:5"}}
	if !reflect.DeepEqual(got.RuntimeConfig["dns"], want) {
		t.Errorf("dns is %v, want %v", got.RuntimeConfig["dns"], want)
	}
}
