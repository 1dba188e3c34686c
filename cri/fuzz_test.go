//lint:file-ignore SA1019 the deprecated fields are still sent

package cri

import (
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// Whatever a request holds is converted or refused by its field's name, and what was accepted can
// be told in a status again.
func FuzzPodSpec(f *testing.F) {
	seed(f, podConfig(), fullPodConfig(), nodeUserNS(), &runtime.PodSandboxConfig{
		Metadata:     podConfig().Metadata,
		PortMappings: []*runtime.PortMapping{{HostPort: 80, ContainerPort: 80, HostIp: "::1"}},
		DnsConfig:    &runtime.DNSConfig{Servers: []string{"1.1.1.1"}},
		Linux:        &runtime.LinuxPodSandboxConfig{Sysctls: map[string]string{"net/ipv4/a.b/c": "1"}, CgroupParent: "/a"},
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := &runtime.PodSandboxConfig{}
		if proto.Unmarshal(data, cfg) != nil {
			return
		}
		p, err := podSpec(cfg, "")
		if err != nil {
			checkRefusal(t, err)
			return
		}
		wirePodStatus(&store.Pod{ID: "p", Spec: *p, State: store.PodReady})
	})
}

func FuzzContainerSpec(f *testing.F) {
	cfg := containerConfig()
	cfg.Mounts = []*runtime.Mount{{ContainerPath: "/a", HostPath: "/b", UidMappings: []*runtime.IDMapping{{Length: 1}}}}
	cfg.Devices = []*runtime.Device{{HostPath: "/dev/a", ContainerPath: "/dev/a", Permissions: "r"}}
	cfg.CDIDevices = []*runtime.CDIDevice{{Name: "a.b/c=d"}}
	cfg.Envs = []*runtime.KeyValue{{Key: "A", Value: []byte("b")}}
	cfg.Linux.SecurityContext.SeccompProfilePath = "localhost//p"
	cfg.Linux.SecurityContext.Capabilities = &runtime.Capability{AddCapabilities: []string{"CHOWN"}}
	seed(f, cfg, containerConfig(), fullContainerConfig())
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := &runtime.ContainerConfig{}
		if proto.Unmarshal(data, cfg) != nil {
			return
		}
		c, err := containerSpec(cfg, podRecord(spec.Namespaces{}))
		if err != nil {
			checkRefusal(t, err)
			return
		}
		wireContainerStatus(&store.Container{ID: "c", Spec: *c, State: store.ContainerRunning})
	})
}

func seed(f *testing.F, messages ...proto.Message) {
	for _, m := range messages {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func checkRefusal(t *testing.T, err error) {
	if !errdefs.IsInvalidArgument(err) || err.Error()[0] == ':' {
		t.Errorf("refusal %q is no invalid argument with its field's name", err)
	}
}
