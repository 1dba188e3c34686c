package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// answers is a server that answers a kubelet's questions and does nothing else: what gRPC and the kernel take for
// a question, whoever has to answer it. It runs no pod: it counts those it was asked for. Lists are encoded when
// they change, as sending bytes is the least there is to it.
type answers struct {
	runtime.UnimplementedRuntimeServiceServer
	runtime.UnimplementedImageServiceServer

	mu         sync.Mutex
	pods       map[string]*runtime.PodSandbox
	containers map[string]*runtime.Container
	status     map[string]*runtime.ContainerStatus
	podList    []byte // nil: to be encoded
	ctrList    []byte
	serial     int
}

// serveAnswers listens at a socket until it is killed.
func serveAnswers(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	a := &answers{pods: map[string]*runtime.PodSandbox{}, containers: map[string]*runtime.Container{}, status: map[string]*runtime.ContainerStatus{}}
	s := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(s, a)
	runtime.RegisterImageServiceServer(s, a)
	return s.Serve(l)
}

func (a *answers) id() string {
	a.serial++
	return fmt.Sprintf("%064x", a.serial)
}

func (a *answers) PullImage(_ context.Context, r *runtime.PullImageRequest) (*runtime.PullImageResponse, error) {
	return &runtime.PullImageResponse{ImageRef: r.Image.GetImage()}, nil
}

func (a *answers) RunPodSandbox(_ context.Context, r *runtime.RunPodSandboxRequest) (*runtime.RunPodSandboxResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.id()
	a.pods[id] = &runtime.PodSandbox{Id: id, Metadata: r.Config.GetMetadata(), Labels: r.Config.GetLabels(), CreatedAt: 1}
	a.podList = nil
	return &runtime.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (a *answers) CreateContainer(_ context.Context, r *runtime.CreateContainerRequest) (*runtime.CreateContainerResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, c := a.id(), r.Config
	running := runtime.ContainerState_CONTAINER_RUNNING
	a.containers[id] = &runtime.Container{
		Id: id, PodSandboxId: r.PodSandboxId, Metadata: c.GetMetadata(), Image: c.GetImage(), ImageRef: c.GetImage().GetImage(),
		State: running, Labels: c.GetLabels(), CreatedAt: 1,
	}
	a.status[id] = &runtime.ContainerStatus{
		Id: id, Metadata: c.GetMetadata(), State: running, Image: c.GetImage(), ImageRef: c.GetImage().GetImage(), Labels: c.GetLabels(),
		CreatedAt: 1, StartedAt: 1, LogPath: c.GetLogPath(), Resources: &runtime.ContainerResources{Linux: &runtime.LinuxContainerResources{}},
	}
	a.ctrList = nil
	return &runtime.CreateContainerResponse{ContainerId: id}, nil
}

func (a *answers) StartContainer(context.Context, *runtime.StartContainerRequest) (*runtime.StartContainerResponse, error) {
	return &runtime.StartContainerResponse{}, nil
}

func (a *answers) StopContainer(context.Context, *runtime.StopContainerRequest) (*runtime.StopContainerResponse, error) {
	return &runtime.StopContainerResponse{}, nil
}

func (a *answers) RemoveContainer(_ context.Context, r *runtime.RemoveContainerRequest) (*runtime.RemoveContainerResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.containers, r.ContainerId)
	delete(a.status, r.ContainerId)
	a.ctrList = nil
	return &runtime.RemoveContainerResponse{}, nil
}

func (a *answers) StopPodSandbox(context.Context, *runtime.StopPodSandboxRequest) (*runtime.StopPodSandboxResponse, error) {
	return &runtime.StopPodSandboxResponse{}, nil
}

func (a *answers) RemovePodSandbox(_ context.Context, r *runtime.RemovePodSandboxRequest) (*runtime.RemovePodSandboxResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pods, r.PodSandboxId)
	a.podList = nil
	return &runtime.RemovePodSandboxResponse{}, nil
}

func (a *answers) ExecSync(context.Context, *runtime.ExecSyncRequest) (*runtime.ExecSyncResponse, error) {
	return &runtime.ExecSyncResponse{}, nil
}

func (a *answers) ContainerStatus(_ context.Context, r *runtime.ContainerStatusRequest) (*runtime.ContainerStatusResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &runtime.ContainerStatusResponse{Status: a.status[r.ContainerId]}, nil
}

func (a *answers) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	resp := &runtime.ListPodSandboxResponse{}
	return resp, respond(resp, a.pods, &a.podList)
}

func (a *answers) ListContainers(context.Context, *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	resp := &runtime.ListContainersResponse{}
	return resp, respond(resp, a.containers, &a.ctrList)
}

// respond puts a list, encoded if it is not yet, into a response whose first field it is.
func respond[M proto.Message](resp proto.Message, list map[string]M, encoded *[]byte) error {
	if *encoded == nil {
		var all []byte
		for _, m := range list {
			one, err := proto.Marshal(m)
			if err != nil {
				return err
			}
			all = protowire.AppendBytes(protowire.AppendTag(all, 1, protowire.BytesType), one)
		}
		*encoded = all
	}
	resp.ProtoReflect().SetUnknown(*encoded)
	return nil
}

func (a *answers) ListContainerStats(context.Context, *runtime.ListContainerStatsRequest) (*runtime.ListContainerStatsResponse, error) {
	return &runtime.ListContainerStatsResponse{}, nil
}
