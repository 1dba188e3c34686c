package cri

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// served is a server on a socket, with a real store and nothing else behind it: what needs more
// panics, which one test is about.
type served struct {
	runtime.RuntimeServiceClient
	runtime.ImageServiceClient
	store *store.Store
	log   *journal
}

// journal is a log that can be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func serve(t *testing.T) *served {
	t.Helper()
	dir := t.TempDir()
	st, _, err := store.Open(filepath.Join(dir, "pods"))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	srv := grpc.NewServer(Options(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), nil)...)
	New(Deps{Store: st, Version: "1.2.3", Handlers: []Handler{{Name: "tare"}}}).Register(srv)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }() // until Stop
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &served{runtime.NewRuntimeServiceClient(conn), runtime.NewImageServiceClient(conn), st, log}
}

func (s *served) pod(t *testing.T, id spec.PodID, state store.PodState, labels map[string]string, ctrs ...*store.Container) *store.Pod {
	t.Helper()
	p := &store.Pod{
		ID: id, State: state, CreatedAt: time.Unix(1, 0), IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
		Spec:       spec.Pod{Name: "n", Namespace: "ns", UID: string(id), Labels: labels},
		Containers: make(map[spec.ContainerID]*store.Container),
	}
	for _, c := range ctrs {
		c.Pod, c.Spec.Name = id, string(c.ID)
		p.Containers[c.ID] = c
	}
	if err := s.store.Create(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPanicIsInternal(t *testing.T) {
	s := serve(t)
	_, err := s.PullImage(t.Context(), &runtime.PullImageRequest{
		Image: &runtime.ImageSpec{Image: "busybox"}, Auth: &runtime.AuthConfig{Username: "u", Password: "hunter2"},
	})
	if status.Code(err) != codes.Internal {
		t.Errorf("error %v, want Internal", err)
	}
	if _, err := s.Version(t.Context(), &runtime.VersionRequest{}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	log := s.log.String()
	for _, want := range []string{"rpc panicked", "pullimage.go", "level=ERROR", "op=PullImage", "image=busybox", "code=Internal"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("log shows a password:\n%s", log)
	}
}

func TestRefusalsReachTheClient(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	s.pod(t, "aa1", store.PodReady, nil)
	s.pod(t, "aa2", store.PodReady, nil)
	tests := []struct {
		name string
		call func() error
		code codes.Code
		text string
	}{
		{"handler", func() error {
			_, err := s.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: podConfig(), RuntimeHandler: "kata"})
			return err
		}, codes.InvalidArgument, `runtime_handler: "kata" is not configured`},
		{"image handler", func() error {
			_, err := s.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: "a", RuntimeHandler: "kata"}})
			return err
		}, codes.InvalidArgument, `image.runtime_handler: "kata" is not configured`},
		{"handler of an image's status", func() error {
			_, err := s.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: "a", RuntimeHandler: "kata"}})
			return err
		}, codes.InvalidArgument, `image.runtime_handler: "kata" is not configured`},
		{"handler of an image to remove", func() error {
			_, err := s.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: "a", RuntimeHandler: "kata"}})
			return err
		}, codes.InvalidArgument, `image.runtime_handler: "kata" is not configured`},
		{"handler of listed images", func() error {
			_, err := s.ListImages(ctx, &runtime.ListImagesRequest{Filter: &runtime.ImageFilter{Image: &runtime.ImageSpec{RuntimeHandler: "kata"}}})
			return err
		}, codes.InvalidArgument, `filter.image.runtime_handler: "kata" is not configured`},
		{"user namespace", func() error {
			cfg := podConfig()
			podNS(cfg).UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_CONTAINER}
			_, err := s.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: cfg})
			return err
		}, codes.InvalidArgument, "linux.security_context.namespace_options.userns_options: mode CONTAINER is not supported"},
		{"no image", func() error {
			_, err := s.ImageStatus(ctx, &runtime.ImageStatusRequest{})
			return err
		}, codes.InvalidArgument, "image.image: must not be empty"},
		{"unknown pod", func() error {
			_, err := s.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: "x"})
			return err
		}, codes.NotFound, `pod "x": not found`},
		{"ambiguous pod", func() error {
			_, err := s.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: "aa"})
			return err
		}, codes.InvalidArgument, `pod id "aa" is ambiguous`},
		{"container of unknown pod", func() error {
			_, err := s.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: "x", Config: containerConfig()})
			return err
		}, codes.NotFound, `pod "x": not found`},
		{"unknown container", func() error {
			_, err := s.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: "x"})
			return err
		}, codes.NotFound, `container "x": not found`},
		{"exec of nothing", func() error {
			_, err := s.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: "x"})
			return err
		}, codes.InvalidArgument, "cmd: must not be empty"},
		{"pods of an unknown state", func() error {
			_, err := s.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{State: &runtime.PodSandboxStateValue{State: 2}}})
			return err
		}, codes.InvalidArgument, "filter.state.state: 2 is not known"},
		{"containers of an unknown state", func() error {
			_, err := s.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{State: &runtime.ContainerStateValue{State: 4}}})
			return err
		}, codes.InvalidArgument, "filter.state.state: 4 is not known"},
		{"stream of pods of an unknown state", func() error {
			stream, err := s.StreamPodSandboxes(ctx, &runtime.StreamPodSandboxesRequest{Filter: &runtime.PodSandboxFilter{State: &runtime.PodSandboxStateValue{State: 2}}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument, "filter.state.state: 2 is not known"},
		{"stream of containers of an unknown state", func() error {
			stream, err := s.StreamContainers(ctx, &runtime.StreamContainersRequest{Filter: &runtime.ContainerFilter{State: &runtime.ContainerStateValue{State: 4}}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument, "filter.state.state: 4 is not known"},
		{"not implemented", func() error {
			_, err := s.CheckpointPod(ctx, &runtime.CheckpointPodRequest{})
			return err
		}, codes.Unimplemented, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := status.Convert(tt.call())
			if got.Code() != tt.code || !strings.HasPrefix(got.Message(), tt.text) {
				t.Errorf("%s %q, want %s %q", got.Code(), got.Message(), tt.code, tt.text)
			}
		})
	}
}

func TestGoneIsSuccess(t *testing.T) {
	s, ctx, id := serve(t), t.Context(), "0e4e41f4-a7a3-4b3c-a7bd-9f0ff3a4e1a7"
	if _, err := s.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
	if _, err := s.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
	if _, err := s.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	if _, err := s.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
}

func TestListPodSandbox(t *testing.T) {
	s := serve(t)
	uid := func(u string) map[string]string { return map[string]string{store.UIDLabel: u, "app": "web"} }
	s.pod(t, "aa1", store.PodReady, uid("u1"))
	s.pod(t, "aa2", store.PodNotReady, uid("u1"))
	s.pod(t, "ab3", store.PodRemoving, nil)
	s.pod(t, "ac4", store.PodCreating, uid("u1"))
	state := func(s runtime.PodSandboxState) *runtime.PodSandboxStateValue {
		return &runtime.PodSandboxStateValue{State: s}
	}
	tests := []struct {
		name   string
		filter *runtime.PodSandboxFilter
		want   []string
	}{
		{"none: all but those being made", nil, []string{"aa1", "aa2", "ab3"}},
		{"id", &runtime.PodSandboxFilter{Id: "aa1"}, []string{"aa1"}},
		{"prefix", &runtime.PodSandboxFilter{Id: "aa"}, []string{"aa1", "aa2"}},
		{"unknown id", &runtime.PodSandboxFilter{Id: "zz"}, nil},
		{"ready", &runtime.PodSandboxFilter{State: state(runtime.PodSandboxState_SANDBOX_READY)}, []string{"aa1"}},
		{"not ready", &runtime.PodSandboxFilter{State: state(runtime.PodSandboxState_SANDBOX_NOTREADY)}, []string{"aa2", "ab3"}},
		{"uid", &runtime.PodSandboxFilter{LabelSelector: map[string]string{store.UIDLabel: "u1"}}, []string{"aa1", "aa2"}},
		{"label", &runtime.PodSandboxFilter{LabelSelector: map[string]string{"app": "web"}}, []string{"aa1", "aa2"}},
		{"empty label", &runtime.PodSandboxFilter{LabelSelector: map[string]string{"nope": ""}}, nil},
		{"id and label that differ", &runtime.PodSandboxFilter{Id: "ab3", LabelSelector: map[string]string{"app": "web"}}, nil},
		{"uid and state", &runtime.PodSandboxFilter{LabelSelector: uid("u1"), State: state(runtime.PodSandboxState_SANDBOX_READY)}, []string{"aa1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := s.ListPodSandbox(t.Context(), &runtime.ListPodSandboxRequest{Filter: tt.filter})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range resp.Items {
				got = append(got, p.Id)
			}
			if slices.Sort(got); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestListContainers(t *testing.T) {
	s := serve(t)
	labelled := &store.Container{ID: "c1", State: store.ContainerRunning}
	labelled.Spec.Labels = map[string]string{store.UIDLabel: "odd"}
	s.pod(t, "aa1", store.PodReady, nil, labelled, &store.Container{ID: "c2", State: store.ContainerExited})
	s.pod(t, "aa2", store.PodReady, nil, &store.Container{ID: "d1", State: store.ContainerStarting}, &store.Container{ID: "d2", State: store.ContainerRemoving})
	state := func(s runtime.ContainerState) *runtime.ContainerStateValue {
		return &runtime.ContainerStateValue{State: s}
	}
	tests := []struct {
		name   string
		filter *runtime.ContainerFilter
		want   []string
	}{
		{"none", nil, []string{"c1", "c2", "d1", "d2"}},
		{"id", &runtime.ContainerFilter{Id: "c1"}, []string{"c1"}},
		{"prefix", &runtime.ContainerFilter{Id: "c"}, []string{"c1", "c2"}},
		{"pod", &runtime.ContainerFilter{PodSandboxId: "aa2"}, []string{"d1", "d2"}},
		{"pod of another", &runtime.ContainerFilter{Id: "c1", PodSandboxId: "aa2"}, nil},
		{"created", &runtime.ContainerFilter{State: state(runtime.ContainerState_CONTAINER_CREATED)}, []string{"d1"}},
		{"running", &runtime.ContainerFilter{State: state(runtime.ContainerState_CONTAINER_RUNNING)}, []string{"c1"}},
		{"exited", &runtime.ContainerFilter{State: state(runtime.ContainerState_CONTAINER_EXITED)}, []string{"c2", "d2"}},
		{"uid of the container alone", &runtime.ContainerFilter{LabelSelector: map[string]string{store.UIDLabel: "odd"}}, []string{"c1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := s.ListContainers(t.Context(), &runtime.ListContainersRequest{Filter: tt.filter})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range resp.Containers {
				got = append(got, c.Id)
			}
			if slices.Sort(got); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	s := serve(t)
	c := &store.Container{
		ID: "c1", State: store.ContainerExited, Image: "sha256:aa", ImageRef: "r@sha256:bb", ImageName: "busybox:latest",
		CreatedAt: time.Unix(2, 0), StartedAt: time.Unix(3, 0), FinishedAt: time.Unix(4, 0), ExitCode: 137, Reason: "OOMKilled", Message: "m",
		LogPath: "/log/0.log", User: store.User{UID: 1, GID: 2, Groups: []uint32{3}}, StopSignal: unix.SIGINT, OCI: &specs.Spec{Version: "1.3.0"},
	}
	c.Spec = spec.Container{Image: "sha256:aa", UserImage: "busybox", Attempt: 4, Resources: &spec.Resources{CPUShares: 2}}
	s.pod(t, "aa1", store.PodReady, map[string]string{"a": "b"}, c)

	got, err := s.ContainerStatus(t.Context(), &runtime.ContainerStatusRequest{ContainerId: "c", Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	want := &runtime.ContainerStatus{
		Id: "c1", Metadata: &runtime.ContainerMetadata{Name: "c1", Attempt: 4}, State: runtime.ContainerState_CONTAINER_EXITED,
		CreatedAt: 2e9, StartedAt: 3e9, FinishedAt: 4e9, ExitCode: 137, Reason: "OOMKilled", Message: "m",
		Image:    &runtime.ImageSpec{Image: "busybox:latest", UserSpecifiedImage: "busybox"},
		ImageRef: "r@sha256:bb", ImageId: "sha256:aa", LogPath: "/log/0.log",
		Resources:  &runtime.ContainerResources{Linux: &runtime.LinuxContainerResources{CpuShares: 2}},
		User:       &runtime.ContainerUser{Linux: &runtime.LinuxContainerUser{Uid: 1, Gid: 2, SupplementalGroups: []int64{3}}},
		StopSignal: runtime.Signal_SIGNAL_SIGINT,
	}
	if got.Status.String() != want.String() {
		t.Errorf("container status\n got %v\nwant %v", got.Status, want)
	}
	if !strings.Contains(got.Info["info"], `"ociVersion":"1.3.0"`) {
		t.Errorf("verbose info %q lacks the runtime spec", got.Info["info"])
	}

	before := time.Now().UnixNano()
	pod, err := s.PodSandboxStatus(t.Context(), &runtime.PodSandboxStatusRequest{PodSandboxId: "aa"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pod.ContainersStatuses) != 1 || pod.ContainersStatuses[0].String() != want.String() || pod.Timestamp < before {
		t.Errorf("containers %v at %d", pod.ContainersStatuses, pod.Timestamp)
	}
	wantPod := &runtime.PodSandboxStatus{
		Id: "aa1", Metadata: &runtime.PodSandboxMetadata{Name: "n", Namespace: "ns", Uid: "aa1"}, CreatedAt: 1e9,
		Network: &runtime.PodSandboxNetworkStatus{Ip: "10.0.0.2", AdditionalIps: []*runtime.PodIP{{Ip: "fd00::2"}}},
		Linux: &runtime.LinuxPodSandboxStatus{Namespaces: &runtime.Namespace{Options: &runtime.NamespaceOption{
			UsernsOptions: &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE},
		}}},
		Labels: map[string]string{"a": "b"},
	}
	if pod.Status.String() != wantPod.String() || len(pod.Info) != 0 {
		t.Errorf("pod status\n got %v, info %v\nwant %v, none", pod.Status, pod.Info, wantPod)
	}
}

func TestVersion(t *testing.T) {
	s := serve(t)
	got, err := s.Version(t.Context(), &runtime.VersionRequest{})
	if err != nil || got.Version != "0.1.0" || got.RuntimeName != "tare" || got.RuntimeVersion != "1.2.3" || got.RuntimeApiVersion != "v1" {
		t.Errorf("%v, %v", got, err)
	}
	if !strings.Contains(s.log.String(), "level=DEBUG msg=rpc op=Version dur=") {
		t.Errorf("log:\n%s", s.log)
	}
}

// A list the kubelet asks for each second, with 500 pods of two containers.
func BenchmarkListContainers(b *testing.B) {
	st, _, err := store.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for range 500 {
		id := spec.NewPodID()
		p := &store.Pod{ID: id, State: store.PodReady, Spec: spec.Pod{UID: string(id)}, Containers: map[spec.ContainerID]*store.Container{}}
		for _, name := range []string{"a", "b"} {
			c := &store.Container{ID: spec.NewContainerID(), Pod: id, State: store.ContainerRunning}
			c.Spec.Name = name
			p.Containers[c.ID] = c
		}
		if err := st.Create(p); err != nil {
			b.Fatal(err)
		}
	}
	s := New(Deps{Store: st})
	b.ReportAllocs()
	for b.Loop() {
		resp, err := s.ListContainers(context.Background(), &runtime.ListContainersRequest{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := proto.Marshal(resp); err != nil {
			b.Fatal(err)
		}
	}
}
