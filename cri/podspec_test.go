package cri

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

func podConfig() *runtime.PodSandboxConfig {
	return &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: "web", Uid: "u-1", Namespace: "default", Attempt: 2},
		Linux: &runtime.LinuxPodSandboxConfig{
			SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: &runtime.NamespaceOption{}},
		},
	}
}

func podNS(c *runtime.PodSandboxConfig) *runtime.NamespaceOption {
	return c.Linux.SecurityContext.NamespaceOptions
}

// wantInvalid checks an error's class and that its text begins with the field's name.
func wantInvalid(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want %q", text)
	}
	if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), text) {
		t.Errorf("error %q (invalid argument: %v), want it to begin with %q", err, errdefs.IsInvalidArgument(err), text)
	}
}

// fullPodConfig says something about almost everything.
func fullPodConfig() *runtime.PodSandboxConfig {
	mapping := []*runtime.IDMapping{{HostId: 65536, Length: 65536}}
	cfg := podConfig()
	cfg.Hostname = "web-0"
	cfg.LogDirectory = "/var/log/pods/web"
	cfg.DnsConfig = &runtime.DNSConfig{Servers: []string{"10.0.0.10", "fd00::a"}, Searches: []string{"svc.local"}, Options: []string{"ndots:5"}}
	cfg.PortMappings = []*runtime.PortMapping{
		{ContainerPort: 80, HostPort: 8080},
		{Protocol: runtime.Protocol_SCTP, ContainerPort: 65535, HostPort: 1, HostIp: "127.0.0.1"},
	}
	cfg.Labels, cfg.Annotations = map[string]string{"a": "b"}, map[string]string{"c": "d"}
	cfg.Linux.CgroupParent = "/kubepods/burstable/pod1"
	cfg.Linux.Sysctls = map[string]string{"net/ipv4/conf/eth0.1/forwarding": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100"}
	cfg.Linux.Overhead = &runtime.LinuxContainerResources{MemoryLimitInBytes: 1}
	cfg.Linux.Resources = &runtime.LinuxContainerResources{CpuShares: 2}
	cfg.Linux.SecurityContext.Privileged = true
	cfg.Linux.SecurityContext.SelinuxOptions = &runtime.SELinuxOption{Type: "container_t", Level: "s0:c1,c2"}
	ns := podNS(cfg)
	ns.Pid, ns.UsernsOptions = runtime.NamespaceMode_CONTAINER, &runtime.UserNamespace{Uids: mapping, Gids: mapping}
	return cfg
}

func TestPodSpec(t *testing.T) {
	cfg := fullPodConfig()
	cfg.PortMappings = append(cfg.PortMappings, &runtime.PortMapping{ContainerPort: 80, HostPort: 0})
	got, err := podSpec(cfg, "isolated")
	if err != nil {
		t.Fatal(err)
	}
	ids := spec.IDMap{Host: 65536, Length: 65536}
	want := &spec.Pod{
		Name: "web", UID: "u-1", Namespace: "default", Attempt: 2, Hostname: "web-0", LogDirectory: "/var/log/pods/web",
		DNS: spec.DNS{Servers: []string{"10.0.0.10", "fd00::a"}, Searches: []string{"svc.local"}, Options: []string{"ndots:5"}},
		PortMappings: []spec.PortMapping{
			{Protocol: "tcp", ContainerPort: 80, HostPort: 8080},
			{Protocol: "sctp", ContainerPort: 65535, HostPort: 1, HostIP: "127.0.0.1"},
		},
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
		CgroupParent: "/kubepods/burstable/pod1",
		Sysctls:      map[string]string{"net.ipv4.conf.eth0/1.forwarding": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100"},
		Namespaces:   spec.Namespaces{PID: spec.ModeContainer, User: &spec.UserNamespace{UID: ids, GID: ids}},
		Privileged:   true, SELinux: "::container_t:s0:c1,c2", Handler: "isolated",
		Overhead: &spec.Resources{Memory: 1}, Resources: &spec.Resources{CPUShares: 2},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("spec\n got %+v\nwant %+v", got, want)
	}
}

// What critest and older kubelets leave out is accepted.
func TestPodSpecSparse(t *testing.T) {
	for name, cfg := range map[string]*runtime.PodSandboxConfig{
		"no linux":     {Metadata: podConfig().Metadata},
		"no security":  {Metadata: podConfig().Metadata, Linux: &runtime.LinuxPodSandboxConfig{}},
		"empty DNS":    {Metadata: podConfig().Metadata, DnsConfig: &runtime.DNSConfig{}},
		"node user ns": nodeUserNS(),
	} {
		p, err := podSpec(cfg, "")
		if err != nil || p.Namespaces != (spec.Namespaces{}) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func nodeUserNS() *runtime.PodSandboxConfig {
	cfg := podConfig()
	podNS(cfg).UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE}
	return cfg
}

// Host network pods carry the port mappings of their containers; they ask for nothing.
func TestHostNetworkHasNoPortMappings(t *testing.T) {
	cfg := podConfig()
	podNS(cfg).Network = runtime.NamespaceMode_NODE
	cfg.PortMappings = []*runtime.PortMapping{{ContainerPort: 80, HostPort: 80}}
	if p, err := podSpec(cfg, ""); err != nil || len(p.PortMappings) != 0 {
		t.Errorf("%+v, %v, want no port mappings", p, err)
	}
}

func TestPodSpecRefuses(t *testing.T) {
	type cfg = runtime.PodSandboxConfig
	const userns = "linux.security_context.namespace_options.userns_options"
	one := &runtime.IDMapping{HostId: 1000, Length: 100000}
	user := func(u *runtime.UserNamespace) func(*cfg) {
		return func(c *cfg) { podNS(c).UsernsOptions = u }
	}
	sysctl := func(k, v string) func(*cfg) {
		return func(c *cfg) { c.Linux.Sysctls = map[string]string{k: v} }
	}
	port := func(m *runtime.PortMapping) func(*cfg) {
		return func(c *cfg) { c.PortMappings = []*runtime.PortMapping{{}, m} }
	}
	tests := []struct {
		name   string
		change func(*cfg)
		want   string
	}{
		{"no metadata", func(c *cfg) { c.Metadata = nil }, "metadata: must not be empty"},
		{"no name", func(c *cfg) { c.Metadata.Name = "" }, "metadata.name: must not be empty"},
		{"no uid", func(c *cfg) { c.Metadata.Uid = "" }, "metadata.uid: must not be empty"},
		{"no namespace", func(c *cfg) { c.Metadata.Namespace = "" }, "metadata.namespace: must not be empty"},
		{"windows", func(c *cfg) { c.Windows = &runtime.WindowsPodSandboxConfig{} }, "windows: "},
		{"hostname with space", func(c *cfg) { c.Hostname = "a b" }, `hostname: "a b" is not a word`},
		{"hostname too long", func(c *cfg) { c.Hostname = strings.Repeat("a", 65) }, "hostname: "},
		{"relative log directory", func(c *cfg) { c.LogDirectory = "logs" }, `log_directory: "logs" is not an absolute path`},
		{"DNS server", func(c *cfg) { c.DnsConfig = &runtime.DNSConfig{Servers: []string{"a\nb"}} }, "dns_config.servers[0]: "},
		{"DNS server with a zone of two lines", func(c *cfg) { c.DnsConfig = &runtime.DNSConfig{Servers: []string{"::1", "fe80::1%lo\noptions x"}} }, "dns_config.servers[1]: "},
		{"DNS search", func(c *cfg) { c.DnsConfig = &runtime.DNSConfig{Searches: []string{"a", "b\noptions x"}} }, "dns_config.searches[1]: "},
		{"DNS option", func(c *cfg) { c.DnsConfig = &runtime.DNSConfig{Options: []string{""}} }, "dns_config.options[0]: "},
		{"protocol", port(&runtime.PortMapping{Protocol: 9, ContainerPort: 1, HostPort: 1}), "port_mappings[1].protocol: 9 is not known"},
		{"container port", port(&runtime.PortMapping{HostPort: 1}), "port_mappings[1].container_port: 0 is not within"},
		{"host port", port(&runtime.PortMapping{ContainerPort: 1, HostPort: 65536}), "port_mappings[1].host_port: 65536"},
		{"negative host port", port(&runtime.PortMapping{ContainerPort: 1, HostPort: -1}), "port_mappings[1].host_port: -1"},
		{"host ip", port(&runtime.PortMapping{ContainerPort: 1, HostPort: 1, HostIp: "localhost"}), `port_mappings[1].host_ip: "localhost"`},
		{"host ip with zone", port(&runtime.PortMapping{ContainerPort: 1, HostPort: 1, HostIp: "fe80::1%eth0"}), "port_mappings[1].host_ip: "},
		{"host port twice", func(c *cfg) {
			c.PortMappings = []*runtime.PortMapping{{ContainerPort: 1, HostPort: 1}, {ContainerPort: 2, HostPort: 1}}
		}, "port_mappings[1].host_port: 1 is mapped twice"},
		{"host port of all addresses twice", func(c *cfg) {
			c.PortMappings = []*runtime.PortMapping{{ContainerPort: 1, HostPort: 1}, {ContainerPort: 2, HostPort: 1, HostIp: "::"}}
		}, "port_mappings[1].host_port: 1 is mapped twice"},
		{"host port of one address twice", func(c *cfg) {
			c.PortMappings = []*runtime.PortMapping{{ContainerPort: 1, HostPort: 1, HostIp: "127.0.0.1"}, {ContainerPort: 2, HostPort: 1, HostIp: "::ffff:127.0.0.1"}}
		}, "port_mappings[1].host_port: 1 is mapped twice"},
		{"cgroup parent climbs", func(c *cfg) { c.Linux.CgroupParent = "/kubepods/../.." }, "linux.cgroup_parent: "},
		{"unknown sysctl", sysctl("vm.swappiness", "1"), `linux.sysctls["vm.swappiness"]: belongs to no namespace`},
		{"sysctl path climbs", sysctl("net.//.//.vm.swappiness", "1"), "linux.sysctls["},
		{"sysctl path climbs too", sysctl("net/../../vm/swappiness", "1"), "linux.sysctls["},
		{"sysctl value", sysctl("net.ipv4.ip_forward", "1\n1"), "linux.sysctls["},
		{"sysctl without value", sysctl("net.ipv4.ip_forward", ""), `linux.sysctls["net.ipv4.ip_forward"]: has no value`},
		{"sysctl twice", func(c *cfg) { c.Linux.Sysctls = map[string]string{"kernel.msgmax": "1", "kernel/msgmax": "2"} }, `linux.sysctls["kernel/msgmax"]: kernel.msgmax is given twice`},
		{"hostname by sysctl", sysctl("kernel.hostname", "a"), "linux.sysctls["},
		{"network sysctl of the host", func(c *cfg) {
			podNS(c).Network = runtime.NamespaceMode_NODE
			sysctl("net.ipv4.ip_forward", "1")(c)
		}, `linux.sysctls["net.ipv4.ip_forward"]: would change the host`},
		{"IPC sysctl of the host", func(c *cfg) {
			podNS(c).Ipc = runtime.NamespaceMode_NODE
			sysctl("kernel.sem", "1")(c)
		}, `linux.sysctls["kernel.sem"]: would change the host`},
		{"network mode", func(c *cfg) { podNS(c).Network = runtime.NamespaceMode_CONTAINER }, "linux.security_context.namespace_options.network: mode CONTAINER is not supported"},
		{"ipc mode", func(c *cfg) { podNS(c).Ipc = runtime.NamespaceMode_TARGET }, "linux.security_context.namespace_options.ipc: mode TARGET is not supported"},
		{"pid mode", func(c *cfg) { podNS(c).Pid = 17 }, "linux.security_context.namespace_options.pid: mode 17 is not supported"},
		{"pid target", func(c *cfg) { podNS(c).Pid = runtime.NamespaceMode_TARGET }, "linux.security_context.namespace_options.pid: mode TARGET is for containers"},
		{"target id", func(c *cfg) { podNS(c).TargetId = "x" }, "linux.security_context.namespace_options.target_id: "},
		{"user ns CONTAINER", user(&runtime.UserNamespace{Mode: runtime.NamespaceMode_CONTAINER}), userns + ": mode CONTAINER is not supported"},
		{"user ns TARGET", user(&runtime.UserNamespace{Mode: runtime.NamespaceMode_TARGET}), userns + ": mode TARGET is not supported"},
		{"user ns NODE with mapping", user(&runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE, Uids: []*runtime.IDMapping{one}}), userns + ": mode NODE takes no mappings"},
		{"user ns without mappings", user(&runtime.UserNamespace{}), userns + ".uids: 0 mappings, exactly one is supported"},
		{"user ns with two mappings", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{one, {HostId: 2000, Length: 100000}}}), userns + ".uids: 2 mappings"},
		{"user ns without gids", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{one}}), userns + ".gids: 0 mappings"},
		{"user ns without id 0", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{{ContainerId: 1, HostId: 1000, Length: 9}}}), userns + ".uids[0].container_id: 1"},
		{"user ns of length 0", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{{HostId: 1000}}}), userns + ".uids[0].length: "},
		{"user ns beyond the end", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{{HostId: math.MaxUint32, Length: 1}}}), userns + ".uids[0]: goes beyond"},
		{"user ns nil mapping", user(&runtime.UserNamespace{Uids: []*runtime.IDMapping{nil}}), userns + ".uids[0].length: "},
		{"group without user", func(c *cfg) { c.Linux.SecurityContext.RunAsGroup = &runtime.Int64Value{} }, "linux.security_context.run_as_group: needs run_as_user"},
		{"negative user", func(c *cfg) { c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: -1} }, "linux.security_context.run_as_user: -1"},
		{"groups", func(c *cfg) { c.Linux.SecurityContext.SupplementalGroups = []int64{1, math.MaxUint32} }, "linux.security_context.supplemental_groups[1]: "},
		{"groups policy", func(c *cfg) { c.Linux.SecurityContext.SupplementalGroupsPolicy = 7 }, "linux.security_context.supplemental_groups_policy: 7"},
		{"seccomp", func(c *cfg) {
			c.Linux.SecurityContext.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: "rel"}
		}, `linux.security_context.seccomp: "rel" is not an absolute path`},
		{"selinux", func(c *cfg) { c.Linux.SecurityContext.SelinuxOptions = &runtime.SELinuxOption{User: "a:b"} }, "linux.security_context.selinux_options.user: "},
		{"resources", func(c *cfg) { c.Linux.Resources = &runtime.LinuxContainerResources{CpuPeriod: 1} }, "linux.resources.cpu_period: 1"},
		{"overhead", func(c *cfg) { c.Linux.Overhead = &runtime.LinuxContainerResources{CpuQuota: -2} }, "linux.overhead.cpu_quota: -2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := podConfig()
			tt.change(cfg)
			_, err := podSpec(cfg, "")
			wantInvalid(t, err, tt.want)
		})
	}
	_, err := podSpec(nil, "")
	wantInvalid(t, err, "config: must not be empty")
}
