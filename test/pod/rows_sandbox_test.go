package pod

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podRow is one pod with a container: what is sent, what the container shows, and what the pod's
// status tells.
type podRow struct {
	name  string
	sent  podOption
	shell map[string]string // a command in the container, and what it prints; IP stands for the pod's address
	tells any               // what told picks out of the status; nil: nothing is looked at
	told  func(*runtime.PodSandboxStatus) any
}

func (r podRow) check(t *testing.T) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		p := suite.shared.runPod(t, r.sent)
		s := p.status()
		if r.told != nil {
			tells(t, r.told(s), r.tells)
		}
		want := maps.Clone(r.shell)
		for cmd, text := range want {
			want[cmd] = strings.ReplaceAll(text, "IP", s.Network.Ip)
		}
		p.start(sleeper).shows(want)
	})
}

const (
	hostnames = "hostname; cat /etc/hostname; echo $HOSTNAME"
	hostsLine = `grep -v localhost /etc/hosts`
)

func TestSandboxRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 64) // the longest, uname(2)
	logs := filepath.Join(t.TempDir(), "not", "there")
	odd := map[string]string{
		"a": "", "": "b", "io.kubernetes.cri.sandbox-id": "x", "\x00\x01": "\n\x7f\u2028\ufffd", "ünïcode": "\"\\", strings.Repeat("k", 300): strings.Repeat("v", 100<<10),
		// What steers other runtimes: to this one it is text.
		"io.kubernetes.cri-o.userns-mode": "auto", "blockio.resources.beta.kubernetes.io/pod": "none", "seccomp-profile.kubernetes.cri-o.io": "/no/such",
		"io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true", "io.containerd.runc.v2.group": "x", "rdt.resources.beta.kubernetes.io/pod": "none",
	}
	limits := &runtime.LinuxContainerResources{MemoryLimitInBytes: 1 << 20, CpuShares: 2}
	rows := []podRow{
		{name: "metadata", sent: func(c *runtime.PodSandboxConfig) { c.Metadata.Namespace, c.Metadata.Attempt = "kube-system", 7 },
			tells: "kube-system 7", told: func(s *runtime.PodSandboxStatus) any {
				return fmt.Sprintf("%s %d", s.Metadata.Namespace, s.Metadata.Attempt)
			}},
		{name: "hostname", sent: named("web-0.sub"), shell: map[string]string{
			hostnames: "web-0.sub\nweb-0.sub\nweb-0.sub\n", hostsLine: "IP\tweb-0.sub\n",
		}},
		{name: "hostname of 64 bytes", sent: named(long), shell: map[string]string{hostnames: long + "\n" + long + "\n" + long + "\n"}},
		{name: "hostname, none", sent: named(""), shell: map[string]string{
			hostnames: host + "\n" + host + "\n" + host + "\n", hostsLine: "IP\t" + host + "\n",
		}},
		{name: "hostname, none in the host's network", sent: onNode(""), shell: map[string]string{hostnames: host + "\n" + host + "\n" + host + "\n"}},
		{name: "hostname in the host's network", sent: onNode("own"), shell: map[string]string{hostnames: "own\nown\nown\n"}},
		{name: "dns_config, searches only", sent: func(c *runtime.PodSandboxConfig) {
			c.DnsConfig = &runtime.DNSConfig{Searches: []string{"a.example", "b.example"}}
		}, shell: map[string]string{"cat /etc/resolv.conf": "search a.example b.example\n"}},
		{name: "dns_config, options only", sent: func(c *runtime.PodSandboxConfig) {
			c.DnsConfig = &runtime.DNSConfig{Options: []string{"ndots:5"}}
		}, shell: map[string]string{"cat /etc/resolv.conf": "options ndots:5\n"}},
		{name: "dns_config in the host's network", sent: func(c *runtime.PodSandboxConfig) {
			onNode("")(c)
			c.DnsConfig = &runtime.DNSConfig{Servers: []string{"fe80::1%lo", "10.0.0.1"}}
		}, shell: map[string]string{"cat /etc/resolv.conf": "nameserver fe80::1%lo\nnameserver 10.0.0.1\n"}},
		{name: "log_directory that is not there", sent: func(c *runtime.PodSandboxConfig) { c.LogDirectory = logs }},
		{name: "labels", sent: func(c *runtime.PodSandboxConfig) { maps.Copy(c.Labels, odd) },
			tells: odd, told: func(s *runtime.PodSandboxStatus) any {
				delete(s.Labels, "io.kubernetes.pod.uid") // the suite's own
				return s.Labels
			}},
		{name: "annotations", sent: func(c *runtime.PodSandboxConfig) { c.Annotations = odd },
			tells: odd, told: func(s *runtime.PodSandboxStatus) any { return s.Annotations }},
		{name: "sysctls", sent: func(c *runtime.PodSandboxConfig) {
			c.Linux.Sysctls = map[string]string{"kernel.domainname": "example", "net/ipv4/conf/lo/forwarding": "1", "kernel.msgmax": "4096"}
		}, shell: map[string]string{"cd /proc/sys; cat kernel/domainname net/ipv4/conf/lo/forwarding kernel/msgmax": "example\n1\n4096\n"}},
		{name: "sysctls, none", sent: named("x"), shell: map[string]string{
			"cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range": "0\n0\t2147483647\n",
		}},
		{name: "sysctls of IPC in the host's network", sent: func(c *runtime.PodSandboxConfig) {
			onNode("")(c)
			c.Linux.Sysctls = map[string]string{"kernel.msgmax": "4096"}
		}, shell: map[string]string{"cat /proc/sys/kernel/msgmax": "4096\n"}},
		{name: "overhead, resources", sent: func(c *runtime.PodSandboxConfig) { c.Linux.Overhead, c.Linux.Resources = limits, limits }},
		{name: "security_context without effect", sent: func(c *runtime.PodSandboxConfig) {
			s := c.Linux.SecurityContext
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &runtime.Int64Value{Value: 1000}, &runtime.Int64Value{Value: 1001}, []int64{1002}
			s.ReadonlyRootfs, s.SupplementalGroupsPolicy = true, runtime.SupplementalGroupsPolicy_Strict
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault} // as kubelets send it
			s.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
		}, shell: map[string]string{"id -u; id -G; touch /x && grep ^Seccomp: /proc/self/status": "0\n0\nSeccomp:\t0\n"}},
	}
	for _, r := range rows {
		r.check(t)
	}
	if st, err := os.Stat(logs); err != nil || !st.IsDir() {
		t.Errorf("log directory: %v", err)
	}
	if now, err := os.Hostname(); err != nil || now != host {
		t.Errorf("the host is called %q, %v, was %q", now, err, host)
	}
}

func named(hostname string) podOption {
	return func(c *runtime.PodSandboxConfig) { c.Hostname = hostname }
}

func onNode(hostname string) podOption {
	return func(c *runtime.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Network, c.Hostname = runtime.NamespaceMode_NODE, hostname
	}
}

// TestCgroupParent: whichever way a parent is written, the container's process is below it.
func TestCgroupParent(t *testing.T) {
	leavesNothing(t, suite.shared)
	parent := suite.cgroup + "/kubepods/burstable/pod1"
	c := suite.shared.runPod(t, inCgroup(parent)).start(sleeper)
	groups, err := os.ReadFile(procPath(c.pid(), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		// cgroups(7): hierarchy:controllers:path. Hierarchies that the runtime has no use for are left alone.
		if path := strings.TrimSpace(strings.SplitN(line, ":", 3)[2]); strings.Contains(path, c.id) && !strings.HasPrefix(path, parent+"/") {
			t.Errorf("%q is not below %s", path, parent)
		}
	}
	if !strings.Contains(string(groups), parent+"/") {
		t.Errorf("no cgroup of\n%s is below %s", groups, parent)
	}
}

// TestPodStatus: what a kubelet refuses a status without (verifySandboxStatus), and who its handler is.
func TestPodStatus(t *testing.T) {
	leavesNothing(t, suite.shared)
	d := suite.shared
	for _, handler := range []string{"", "tare"} {
		before := time.Now().UnixNano()
		config := podConfig("status")
		resp, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
		if err != nil {
			t.Fatal(err)
		}
		p := &pod{d, t, resp.PodSandboxId, config}
		s := p.status()
		if s.Id != p.id || s.Metadata.String() != config.Metadata.String() || s.State != runtime.PodSandboxState_SANDBOX_READY ||
			s.CreatedAt < before || s.CreatedAt > time.Now().UnixNano() || s.Network.GetIp() == "" || s.RuntimeHandler != handler {
			t.Errorf("handler %q: %v", handler, s)
		}
		list, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{Id: p.id}})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if i := list.Items[0]; i.Metadata.String() != s.Metadata.String() || i.CreatedAt != s.CreatedAt || i.State != s.State || i.RuntimeHandler != handler {
			t.Errorf("handler %q: the list says %v, the status %v", handler, i, s)
		}
		p.remove()
	}
}

// TestSandboxRefusals: what would reach beyond the pod's own namespaces, or means two things.
func TestSandboxRefusals(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	hostIPC := podNamespaces(func(n *runtime.NamespaceOption) { n.Ipc = runtime.NamespaceMode_NODE })
	with := func(o podOption, sysctl string) podOption {
		return func(c *runtime.PodSandboxConfig) {
			o(c)
			c.Linux.Sysctls = map[string]string{sysctl: "1"}
		}
	}
	for name, tt := range map[string]struct {
		sent podOption
		word string
	}{
		"sysctls of the host's network": {with(onNode(""), "net.ipv4.ip_forward"), `linux.sysctls["net.ipv4.ip_forward"]`},
		"sysctls of the host's UTS":     {with(onNode(""), "kernel.domainname"), `linux.sysctls["kernel.domainname"]`},
		"sysctls of the host's IPC":     {with(hostIPC, "kernel.msgmax"), `linux.sysctls["kernel.msgmax"]`},
		"sysctls of the host's queues":  {with(hostIPC, "fs.mqueue.msg_max"), `linux.sysctls["fs.mqueue.msg_max"]`},
		"sysctls without a namespace":   {with(named(""), "kernel.pid_max"), `linux.sysctls["kernel.pid_max"]`},
		"sysctls, hostname":             {with(named(""), "kernel.hostname"), `linux.sysctls["kernel.hostname"]`},
		"port_mappings, twice": {func(c *runtime.PodSandboxConfig) {
			c.PortMappings = []*runtime.PortMapping{{HostPort: 1, ContainerPort: 1}, {HostPort: 1, ContainerPort: 2}}
		}, "port_mappings[1].host_port"},
		"windows": {func(c *runtime.PodSandboxConfig) { c.Windows = &runtime.WindowsPodSandboxConfig{} }, "windows"},
	} {
		t.Run(name, func(t *testing.T) {
			badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("bad", tt.sent)}, codes.InvalidArgument, tt.word)
		})
	}
}
