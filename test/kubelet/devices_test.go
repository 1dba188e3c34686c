package kubelet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// gadgets is a device plugin with one device, which it gives away by path, and by a name of CDI.
type gadgets struct {
	v1beta1.UnimplementedDevicePluginServer
	node, file string // of the host
	stop       chan struct{}
}

const gadget = "tare.test/gadget"

func (g *gadgets) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

func (g *gadgets) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	if err := stream.Send(&v1beta1.ListAndWatchResponse{Devices: []*v1beta1.Device{{ID: "one", Health: v1beta1.Healthy}}}); err != nil {
		return err
	}
	<-g.stop
	return nil
}

func (g *gadgets) Allocate(_ context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	resp := &v1beta1.AllocateResponse{}
	for range req.ContainerRequests {
		resp.ContainerResponses = append(resp.ContainerResponses, &v1beta1.ContainerAllocateResponse{
			Envs:       map[string]string{"GADGET": "one"},
			Devices:    []*v1beta1.DeviceSpec{{HostPath: g.node, ContainerPath: "/dev/gadget", Permissions: "r"}},
			Mounts:     []*v1beta1.Mount{{HostPath: g.file, ContainerPath: "/opt/gadget", ReadOnly: true}},
			CdiDevices: []*v1beta1.CDIDevice{{Name: gadget + "=one"}},
		})
	}
	return resp, nil
}

// register serves the plugin and has the kubelet know of it.
func (g *gadgets) register(t *testing.T) {
	socket := filepath.Join(v1beta1.DevicePluginPath, "gadgets.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(server, g)
	go func() { _ = server.Serve(listener) }() // ends with the server
	t.Cleanup(func() { close(g.stop); server.Stop() })
	conn, err := grpc.NewClient("unix://"+v1beta1.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout())
	defer cancel()
	_, err = v1beta1.NewRegistrationClient(conn).Register(ctx, &v1beta1.RegisterRequest{
		Version: v1beta1.Version, Endpoint: filepath.Base(socket), ResourceName: gadget,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDevicePlugin has a pod ask for a plugin's device: its node, mount, variable, and what its name means to
// CDI are there.
func TestDevicePlugin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := &gadgets{node: filepath.Join(dir, "node"), file: filepath.Join(dir, "file"), stop: make(chan struct{})}
	const description = `{"cdiVersion": "0.6.0", "kind": "` + gadget + `", "devices": [{"name": "one", "containerEdits": {"env": ["CDI=one"]}}]}`
	for path, text := range map[string]string{g.file: "library\n", node.path("cdi/gadget.json"): description} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Of a driver that need not be there: what may not be opened is refused all the same.
	if err := unix.Mknod(g.node, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 1))); err != nil {
		t.Fatal(err)
	}
	g.register(t)
	// A pod that comes before the kubelet has heard of the device is refused for good.
	err := until("the kubelet has the device", func() error {
		held, err := os.ReadFile(filepath.Join(v1beta1.DevicePluginPath, "kubelet_internal_checkpoint"))
		if err == nil && !strings.Contains(string(held), gadget) {
			err = fmt.Errorf("it has %s", held)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p := runPod(t, "devices", `
restartPolicy: Never
containers:
- name: c
  resources: {limits: {`+gadget+`: 1}}
  command:
  - sh
  - -c
  - |
    exec > /dev/termination-log 2>&1
    echo $GADGET $CDI; cat /opt/gadget
    (: < /dev/gadget) 2>&1 | grep -q permitted || echo may read
    (: >> /dev/gadget) 2>&1 | grep -q permitted || echo may write
`)
	p.ended(v1.PodSucceeded)
	if got, want := p.said("c"), "one one\nlibrary\nmay read\n"; got != want {
		t.Errorf("the container says %q, want %q", got, want)
	}
}
