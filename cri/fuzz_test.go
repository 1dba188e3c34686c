//lint:file-ignore SA1019 the deprecated fields are still sent

package cri

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/container"
	"tare/nsutil"
	"tare/sandbox"
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
		plan := sandbox.New("p", p, sandbox.Layout{Dir: "/run/pods", NetNS: "/run/netns"})
		if plan.Program != nil {
			checkProgram(t, plan.Program)
		}
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
		_, err = container.Assemble(container.Request{
			ID: "c", Spec: c, Pod: &spec.Pod{Hostname: "h"}, PodDir: "/run/pods/p", CgroupPath: "/a/c", CgroupV2: true, OpenFiles: 1 << 20,
			Image: ocispec.ImageConfig{Cmd: []string{"true"}}, Volumes: make([]spec.ImageID, len(c.Mounts)),
		})
		if err != nil && !errdefs.IsInvalidArgument(err) && !isMissing(err) {
			t.Errorf("assemble: %v", err)
		}
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

// isMissing says whether a host path was not there, or could not be.
func isMissing(err error) bool {
	_, is := errors.AsType[*os.PathError](err)
	return is || errors.Is(err, os.ErrNotExist)
}

func checkProgram(t *testing.T, p *nsutil.Program) {
	t.Helper()
	if _, _, err := nsutil.Decode(p.Encode()); err != nil {
		t.Errorf("the program %s cannot be sent: %v", p, err)
	}
}

// Every RPC about an object that is not there says so, or what is wrong with the request.
func FuzzRequests(f *testing.F) {
	st, _, err := store.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	s := New(Deps{Store: st, Handlers: []Handler{{Name: "tare"}}})
	methods := map[string]grpc.MethodDesc{}
	for _, m := range runtime.RuntimeService_ServiceDesc.Methods {
		methods[m.MethodName] = m
	}
	for name, message := range map[string]proto.Message{
		"ExecSync":                  &runtime.ExecSyncRequest{ContainerId: "c", Cmd: []string{"true"}, Timeout: 1},
		"Exec":                      &runtime.ExecRequest{ContainerId: "c", Cmd: []string{"sh"}, Tty: true, Stdin: true, Stdout: true},
		"Attach":                    &runtime.AttachRequest{ContainerId: "c", Stdout: true},
		"PortForward":               &runtime.PortForwardRequest{PodSandboxId: "p", Port: []int32{80}},
		"CreateContainer":           &runtime.CreateContainerRequest{PodSandboxId: "p", Config: fullContainerConfig(), SandboxConfig: fullPodConfig()},
		"StartContainer":            &runtime.StartContainerRequest{ContainerId: "c"},
		"ContainerStatus":           &runtime.ContainerStatusRequest{ContainerId: "c", Verbose: true},
		"ContainerStats":            &runtime.ContainerStatsRequest{ContainerId: "c"},
		"PodSandboxStatus":          &runtime.PodSandboxStatusRequest{PodSandboxId: "p", Verbose: true},
		"PodSandboxStats":           &runtime.PodSandboxStatsRequest{PodSandboxId: "p"},
		"ListContainers":            &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{Id: "c", LabelSelector: map[string]string{"a": "b"}}},
		"ListPodSandbox":            &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{State: &runtime.PodSandboxStateValue{State: 7}}},
		"UpdateContainerResources":  &runtime.UpdateContainerResourcesRequest{ContainerId: "c", Linux: &runtime.LinuxContainerResources{CpuQuota: -7}},
		"UpdatePodSandboxResources": &runtime.UpdatePodSandboxResourcesRequest{PodSandboxId: "p", Overhead: &runtime.LinuxContainerResources{}},
		"ReopenContainerLog":        &runtime.ReopenContainerLogRequest{ContainerId: "c"},
	} {
		data, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, data)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		m, ok := methods[name]
		if !ok || !aboutObjects[name] {
			return
		}
		var garbage error // which gRPC refuses
		_, err := m.Handler(s, t.Context(), func(to any) error {
			garbage = proto.Unmarshal(data, to.(proto.Message))
			return garbage
		}, unary(slog.New(slog.DiscardHandler)))
		switch status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition:
		default:
			if garbage == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// aboutObjects are the RPCs that look at the records before anything else is asked.
var aboutObjects = map[string]bool{
	"ExecSync": true, "Exec": true, "Attach": true, "PortForward": true, "CreateContainer": true, "StartContainer": true,
	"ContainerStatus": true, "ContainerStats": true, "PodSandboxStatus": true, "PodSandboxStats": true, "ListContainers": true,
	"ListPodSandbox": true, "UpdateContainerResources": true, "UpdatePodSandboxResources": true, "ReopenContainerLog": true,
}

func FuzzAuth(f *testing.F) {
	seed(f, &runtime.AuthConfig{Auth: "dTpw", ServerAddress: "https://a"}, &runtime.AuthConfig{Username: "u", Password: "p"}, &runtime.AuthConfig{RegistryToken: "t"})
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &runtime.AuthConfig{}
		if proto.Unmarshal(data, a) != nil {
			return
		}
		if _, err := auth(a, "auth"); err != nil {
			checkRefusal(t, err)
		}
	})
}
