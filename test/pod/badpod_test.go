package pod

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// refused checks that a call failed as it should: with this code, in one line that has these words.
func refused(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", code)
		return
	}
	text := status.Convert(err).Message()
	if got := status.Code(err); got != code {
		t.Errorf("code %s, want %s: %s", got, code, text)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("error %q does not name %q", text, word)
		}
	}
	if strings.Contains(text, "\n") {
		t.Errorf("error %q is more than a sentence", text)
	}
}

func TestBadPods(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	security := func(change func(*runtime.LinuxSandboxSecurityContext)) podOption {
		return func(c *runtime.PodSandboxConfig) { change(c.Linux.SecurityContext) }
	}
	parent := func(path string) podOption {
		return func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = path }
	}
	sysctl := func(name, value string) podOption {
		return func(c *runtime.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{name: value} }
	}
	tests := []struct {
		name    string
		change  podOption
		handler string
		words   []string
	}{
		{name: "no metadata", change: func(c *runtime.PodSandboxConfig) { c.Metadata = nil }, words: []string{"metadata"}},
		{name: "no name", change: func(c *runtime.PodSandboxConfig) { c.Metadata.Name = "" }, words: []string{"metadata.name"}},
		{name: "no uid", change: func(c *runtime.PodSandboxConfig) { c.Metadata.Uid = "" }, words: []string{"metadata.uid"}},
		{name: "name of two CNI arguments", change: func(c *runtime.PodSandboxConfig) { c.Metadata.Name = "a;K8S_POD_UID=b" }, words: []string{"metadata.name"}},
		{name: "unknown handler", handler: "no-such", words: []string{"runtime_handler", "no-such"}},
		{name: "hostname of two lines", change: func(c *runtime.PodSandboxConfig) { c.Hostname = "a\nb" }, words: []string{"hostname"}},
		{name: "long hostname", change: func(c *runtime.PodSandboxConfig) { c.Hostname = strings.Repeat("a", 65) }, words: []string{"hostname"}},
		{name: "relative log directory", change: func(c *runtime.PodSandboxConfig) { c.LogDirectory = "logs" }, words: []string{"log_directory"}},
		{name: "cgroup parent goes up", change: parent("/a/../../b"), words: []string{"cgroup_parent"}},
		{name: "cgroup parent is up", change: parent(".."), words: []string{"cgroup_parent"}},
		{name: "cgroup parent of two lines", change: parent("/a\nb"), words: []string{"cgroup_parent"}},
		{name: "cgroup parent of another driver", change: parent("a.slice"), words: []string{"cgroup_parent", "a.slice"}},
		{name: "relative cgroup parent", change: parent("a/b"), words: []string{"cgroup_parent", "a/b"}},
		{name: "sysctl of the host", change: sysctl("vm.swappiness", "1"), words: []string{"vm.swappiness"}},
		{name: "sysctl that is a path", change: sysctl("net.../../kernel/core_pattern", "1"), words: []string{"sysctls"}},
		{name: "sysctl that does not exist", change: sysctl("net.ipv4.no_such", "1"), words: []string{"net/ipv4/no_such"}},
		{name: "sysctl with a bad value", change: sysctl("net.ipv4.ip_forward", "maybe"), words: []string{"net/ipv4/ip_forward"}},
		{name: "group without user", change: security(func(s *runtime.LinuxSandboxSecurityContext) { s.RunAsGroup = &runtime.Int64Value{Value: 1} }), words: []string{"run_as_group"}},
		{name: "negative user", change: security(func(s *runtime.LinuxSandboxSecurityContext) { s.RunAsUser = &runtime.Int64Value{Value: -1} }), words: []string{"run_as_user"}},
		{name: "target", change: podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_TARGET }), words: []string{"pid"}},
		{name: "network of a container", change: podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_CONTAINER }), words: []string{"network"}},
		{name: "port", change: func(c *runtime.PodSandboxConfig) {
			c.PortMappings = []*runtime.PortMapping{{HostPort: 70000, ContainerPort: 1}}
		}, words: []string{"port_mappings[0]"}},
		{name: "DNS server", change: func(c *runtime.PodSandboxConfig) {
			c.DnsConfig = &runtime.DNSConfig{Servers: []string{"1.1.1.1\noptions x"}}
		}, words: []string{"dns_config.servers[0]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			var options []podOption
			if tt.change != nil {
				options = append(options, tt.change)
			}
			badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("bad", options...), RuntimeHandler: tt.handler}, codes.InvalidArgument, tt.words...)
		})
	}
	d.runPod(t).start(sleeper)
}

func badPod(t *testing.T, d *daemon, r *runtime.RunPodSandboxRequest, code codes.Code, words ...string) {
	t.Helper()
	resp, err := d.runtime.RunPodSandbox(deadline(t), r)
	refused(t, err, code, words...)
	if err == nil {
		_, _ = d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: resp.PodSandboxId})
	}
	list, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{
		Filter: &runtime.PodSandboxFilter{LabelSelector: r.Config.Labels},
	})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("pods after the failure: %v, %v", list.GetItems(), err)
	}
}

// TestBadUserNamespaces: critest's ways of being wrong, and some more.
func TestBadUserNamespaces(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	one := mapping()
	with := func(id, host, length uint32) []*runtime.IDMapping {
		return []*runtime.IDMapping{{ContainerId: id, HostId: host, Length: length}}
	}
	tests := []struct {
		name       string
		mode       runtime.NamespaceMode
		uids, gids []*runtime.IDMapping
		word       string
	}{
		{"mode CONTAINER", runtime.NamespaceMode_CONTAINER, one, one, "mode CONTAINER"},
		{"mode TARGET", runtime.NamespaceMode_TARGET, one, one, "mode TARGET"},
		{"mode NODE with mappings", runtime.NamespaceMode_NODE, one, one, "mappings"},
		{"no uids", runtime.NamespaceMode_POD, nil, one, "uids"},
		{"no gids", runtime.NamespaceMode_POD, one, nil, "gids"},
		{"two uids", runtime.NamespaceMode_POD, append(with(0, hostIDs, 10), with(10, hostIDs+10, 10)...), one, "uids"},
		{"two gids", runtime.NamespaceMode_POD, one, append(with(0, hostIDs, 10), with(10, hostIDs+10, 10)...), "gids"},
		{"not from 0", runtime.NamespaceMode_POD, with(1, hostIDs, 10), one, "uids[0].container_id"},
		{"gids not from 0", runtime.NamespaceMode_POD, one, with(1, hostIDs, 10), "gids[0].container_id"},
		{"empty", runtime.NamespaceMode_POD, with(0, hostIDs, 0), one, "uids[0].length"},
		{"beyond the last", runtime.NamespaceMode_POD, with(0, 4294967295, 2), one, "uids[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := podConfig("bad", podNamespaces(func(n *runtime.NamespaceOption) {
				n.UsernsOptions = &runtime.UserNamespace{Mode: tt.mode, Uids: tt.uids, Gids: tt.gids}
			}))
			badPod(t, d, &runtime.RunPodSandboxRequest{Config: config}, codes.InvalidArgument, "userns_options", tt.word)
		})
	}
	t.Run("container of another", func(t *testing.T) {
		p := d.runPod(t, inUserNS)
		_, err := p.tryCreate(p.containerConfig(secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_POD, Uids: with(0, hostIDs+1, 10), Gids: with(0, hostIDs+1, 10)}
		})))
		refused(t, err, codes.InvalidArgument, "userns_options")
		_, err = p.tryCreate(p.containerConfig(secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE}
		})))
		refused(t, err, codes.InvalidArgument, "userns_options")
		p.start(sleeper)
	})
}

// TestUnknownIDs: every verb names the id, but for those that stop and remove, which have nothing
// to do.
func TestUnknownIDs(t *testing.T) {
	d, ctx := suite.shared, deadline(t)
	id := strings.Repeat("0123456789abcdef", 4)
	calls := map[string]struct {
		call func() error
		done bool
	}{
		"PodSandboxStatus": {call: func() error {
			_, err := d.runtime.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id})
			return err
		}},
		"CreateContainer": {call: func() error {
			_, err := d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: id, Config: &runtime.ContainerConfig{}})
			return err
		}},
		"StartContainer": {call: func() error {
			_, err := d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: id})
			return err
		}},
		"ContainerStatus": {call: func() error {
			_, err := d.runtime.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id})
			return err
		}},
		"ExecSync": {call: func() error {
			_, err := d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}})
			return err
		}},
		"ReopenContainerLog": {call: func() error {
			_, err := d.runtime.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: id})
			return err
		}},
		"UpdateContainerResources": {call: func() error {
			_, err := d.runtime.UpdateContainerResources(ctx, &runtime.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtime.LinuxContainerResources{}})
			return err
		}},
		"UpdatePodSandboxResources": {call: func() error {
			_, err := d.runtime.UpdatePodSandboxResources(ctx, &runtime.UpdatePodSandboxResourcesRequest{PodSandboxId: id})
			return err
		}},
		"ContainerStats": {call: func() error {
			_, err := d.runtime.ContainerStats(ctx, &runtime.ContainerStatsRequest{ContainerId: id})
			return err
		}},
		"PodSandboxStats": {call: func() error {
			_, err := d.runtime.PodSandboxStats(ctx, &runtime.PodSandboxStatsRequest{PodSandboxId: id})
			return err
		}},
		"Exec": {call: func() error {
			_, err := d.runtime.Exec(ctx, &runtime.ExecRequest{ContainerId: id, Cmd: []string{"true"}, Stdout: true})
			return err
		}},
		"Attach": {call: func() error {
			_, err := d.runtime.Attach(ctx, &runtime.AttachRequest{ContainerId: id, Stdout: true})
			return err
		}},
		"PortForward": {call: func() error {
			_, err := d.runtime.PortForward(ctx, &runtime.PortForwardRequest{PodSandboxId: id})
			return err
		}},
		"StopPodSandbox": {done: true, call: func() error {
			_, err := d.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: id})
			return err
		}},
		"RemovePodSandbox": {done: true, call: func() error {
			_, err := d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: id})
			return err
		}},
		"StopContainer": {done: true, call: func() error {
			_, err := d.runtime.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: id})
			return err
		}},
		"RemoveContainer": {done: true, call: func() error {
			_, err := d.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: id})
			return err
		}},
		"RemoveImage": {done: true, call: func() error {
			_, err := d.images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: "sha256:" + id}})
			return err
		}},
		"ImageStatus": {done: true, call: func() error {
			resp, err := d.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: "registry.tare.test/none:none"}})
			if resp.GetImage() != nil {
				t.Errorf("ImageStatus of an unknown image says %v", resp.Image)
			}
			return err
		}},
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			err := c.call()
			switch {
			case !c.done:
				refused(t, err, codes.NotFound, id)
			case err != nil:
				t.Error(err)
			}
		})
	}
}
