package node

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRI is a client of a runtime.
type CRI struct {
	runtime.RuntimeServiceClient
	runtime.ImageServiceClient
	conn *grpc.ClientConn
}

// Dial connects to the runtime at unix:///PATH.
func Dial(endpoint string) (*CRI, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &CRI{runtime.NewRuntimeServiceClient(conn), runtime.NewImageServiceClient(conn), conn}, nil
}

// Close ends the connection.
func (c *CRI) Close() error { return c.conn.Close() }

// Pull pulls an image, and returns its id.
func (c *CRI) Pull(ctx context.Context, image string) (string, error) {
	r, err := c.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: image}})
	return r.GetImageRef(), err
}

// Run creates a container and starts it.
func (c *CRI) Run(ctx context.Context, pod string, sandbox *runtime.PodSandboxConfig, config *runtime.ContainerConfig) (string, error) {
	r, err := c.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: sandbox})
	if err != nil {
		return "", err
	}
	_, err = c.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: r.ContainerId})
	return r.ContainerId, err
}

// ContainerPid is the process of a running container, which runtimes tell as extra information.
func (c *CRI) ContainerPid(ctx context.Context, id string) (int, error) {
	r, err := c.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return 0, err
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil || info.Pid == 0 {
		return 0, fmt.Errorf("container %s: the runtime tells no pid: %v", id, err)
	}
	return info.Pid, nil
}
