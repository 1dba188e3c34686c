package cri

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/stats"
	"tare/store"
	"tare/trace"
)

// Sandboxes makes and ends pod sandboxes. Each call is idempotent: a repeated one joins the one
// under way or returns its result.
type Sandboxes interface {
	RunPod(ctx context.Context, p *spec.Pod) (spec.PodID, error)
	StopPod(ctx context.Context, id spec.PodID) error
	RemovePod(ctx context.Context, id spec.PodID) error
}

// Containers makes and ends containers, likewise.
type Containers interface {
	CreateContainer(ctx context.Context, pod spec.PodID, c *spec.Container) (spec.ContainerID, error)
	StartContainer(ctx context.Context, id spec.ContainerID) error
	StopContainer(ctx context.Context, id spec.ContainerID, grace time.Duration) error
	RemoveContainer(ctx context.Context, id spec.ContainerID) error
}

// Processes reaches into running containers. A timeout of 0 is none; one that passes is
// context.DeadlineExceeded.
type Processes interface {
	ExecSync(ctx context.Context, id spec.ContainerID, cmd []string, timeout time.Duration) (spec.ExecResult, error)
	ReopenLog(ctx context.Context, id spec.ContainerID) error
}

// Images is the image store. Its ErrUnavailable on Pull means the registry.
type Images interface {
	Pull(ctx context.Context, p spec.Pull) (spec.Image, error)
	Get(ref string) (spec.Image, error)
	List() []spec.Image
	Remove(ctx context.Context, ref string) error
}

// ImageUsage tells what images take of their filesystem.
type ImageUsage interface {
	Usage(ctx context.Context) (spec.FilesystemUsage, error)
}

// Resources changes the limits of what exists.
type Resources interface {
	UpdateContainer(ctx context.Context, id spec.ContainerID, r *spec.Resources) error
	UpdatePod(ctx context.Context, id spec.PodID, overhead, resources *spec.Resources) error
}

// Stats reads what pods and containers use, without waiting for anything.
type Stats interface {
	Container(c *store.Container, d stats.Depth) stats.Container
	Pod(p *store.Pod, d stats.Depth) stats.Pod
	Layers() spec.FilesystemUsage
	Filesystem() (stats.Filesystem, error)
}

// Network is the pods' network: whether it can serve, and from which ranges.
type Network interface {
	Status() (ok bool, reason, message string)
	SetPodCIDR(cidrs []string) error
}

// Streams hands out addresses of streaming sessions, for requests that are valid and name full ids.
type Streams interface {
	Exec(r *runtime.ExecRequest) (*runtime.ExecResponse, error)
	Attach(r *runtime.AttachRequest) (*runtime.AttachResponse, error)
	PortForward(r *runtime.PortForwardRequest) (*runtime.PortForwardResponse, error)
}

// Handler is a runtime handler and what it can do on this kernel.
type Handler struct {
	Name              string
	Isolated          bool     // see spec.Pod
	RecursiveReadonly bool     // recursive read-only mounts
	UserNamespaces    *Finding // user namespaces and idmapped mounts, both
}

// Features is what the runtime can do whatever the handler, on this kernel.
type Features struct {
	SupplementalGroupsPolicy  bool
	UserNamespacesHostNetwork bool
	MountOptions              bool
}

// Deps is all that a Server works with. All fields are required but Tracer and Config.
type Deps struct {
	Store      *store.Store
	Sandboxes  Sandboxes
	Containers Containers
	Processes  Processes
	Resources  Resources
	Stats      Stats
	Images     Images
	ImageUsage ImageUsage
	Network    Network
	Streams    Streams

	Version       string    // of this build, semantic versioning
	Handlers      []Handler // the first is the default
	Features      Features
	SystemdCgroup bool          // the cgroup driver is systemd's, else cgroupfs
	Tracer        *trace.Tracer // nil: nothing is recorded
	Config        any           // shown as JSON by a verbose Status; holds no secrets
}

// Server implements CRI's two services.
type Server struct {
	runtime.UnimplementedRuntimeServiceServer
	runtime.UnimplementedImageServiceServer

	deps          Deps
	podList       encoded[store.Pod]
	containerList encoded[store.Container]
}

// New returns a server, not yet registered.
func New(deps Deps) *Server {
	s := &Server{deps: deps}
	s.podList = encoded[store.Pod]{field: 1, wire: func(p *store.Pod) proto.Message { return wirePod(p) }, entries: map[*store.Pod][]byte{}}
	s.containerList = encoded[store.Container]{field: 1, wire: func(c *store.Container) proto.Message { return wireContainer(c) }, entries: map[*store.Container][]byte{}}
	return s
}

// Register offers both services at r.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	runtime.RegisterRuntimeServiceServer(r, s)
	runtime.RegisterImageServiceServer(r, s)
}

// maxMessage is the largest message either side takes, the kubelet's limit (cri-client, maxMsgSize).
const maxMessage = 16 << 20

// Options returns what the gRPC server has to be made with: the limits, and the interceptors that
// log each RPC, map its error and survive its panic. t, if not nil, records them.
func Options(log *slog.Logger, t *trace.Tracer) []grpc.ServerOption {
	interceptors := []grpc.UnaryServerInterceptor{unary(log)}
	if t != nil {
		interceptors = append(interceptors, traced(t))
	}
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.ChainUnaryInterceptor(interceptors...),
		grpc.ChainStreamInterceptor(stream(log)),
	}
}

// handler finds a runtime handler. The empty name is the default one's.
func (s *Server) handler(name string, at field) (Handler, error) {
	if name == "" {
		return s.deps.Handlers[0], nil
	}
	for _, h := range s.deps.Handlers {
		if h.Name == name {
			return h, nil
		}
	}
	return Handler{}, at.errorf("%q is not configured", name)
}

// checkHandler refuses a runtime handler that does not exist.
func (s *Server) checkHandler(name string, at field) error {
	_, err := s.handler(name, at)
	return err
}
