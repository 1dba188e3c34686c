package pod

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// spans is a collector on loopback.
type spans struct {
	otlp.UnimplementedTraceServiceServer
	mu  sync.Mutex
	all []*trace.Span
}

func (s *spans) Export(_ context.Context, r *otlp.ExportTraceServiceRequest) (*otlp.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
	return &otlp.ExportTraceServiceResponse{}, nil
}

// of returns the names of a trace's spans, and those that failed.
func (s *spans) of(id string) (names, failed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if hex.EncodeToString(span.TraceId) != id {
			continue
		}
		names = append(names, span.Name)
		if span.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
			failed = append(failed, span.Name)
		}
	}
	return names, failed
}

// collect serves a collector for one test.
func collect(t *testing.T) (s *spans, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &spans{}
	server := grpc.NewServer()
	otlp.RegisterTraceServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }() // until Stop
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// TestTrace has a daemon record a pod's life as parts of its caller's trace: the collector gets the steps, down to
// the stages of the container's program, and "tare trace" shows them.
func TestTrace(t *testing.T) {
	s, address := collect(t)
	d := ownDaemon(t, options{config: fmt.Sprintf("tracing.endpoint = %q\ntracing.keep = 100\n", address)})
	d.pull(t, busybox)
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	ctx := metadata.AppendToOutgoingContext(deadline(t), "traceparent", "00-"+id+"-"+parent+"-01")

	p := d.runPod(t)
	made, err := d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: p.config, Config: p.containerConfig(sleeper),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: made.ContainerId, Cmd: []string{"/no/such"}}); err == nil {
		t.Fatal("a command that is not there was executed")
	}
	out, err := run(filepath.Join(d.bin, "tare"), "trace", "--state", d.path("state"), p.id)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{"RunPodSandbox", "network", "CreateContainer", "StartContainer", "cgroup", "namespaces", "privileges, execve", "ExecSync", "not found"}
	for _, want := range shown {
		if !strings.Contains(out, want) {
			t.Errorf("tare trace does not show %q:\n%s", want, out)
		}
	}
	d.signal(syscall.SIGTERM) // a daemon that ends sends what it has
	<-d.done
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	names, failed := s.of(id)
	for _, want := range []string{"CreateContainer", "StartContainer", "program", "root and volumes", "privileges, execve", "ExecSync"} {
		if !slices.Contains(names, want) {
			t.Errorf("the collector got no %q: %q", want, names)
		}
	}
	if want := []string{"program", "ExecSync"}; !slices.Equal(failed, want) {
		t.Errorf("steps that failed: %q, want %q", failed, want)
	}
	if slices.Contains(names, "RunPodSandbox") {
		t.Error("an operation of another caller is in the trace")
	}
}

// TestTraceOff asks a daemon that records nothing.
func TestTraceOff(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	if out, err := run(filepath.Join(d.bin, "tare"), "trace", "--state", d.path("state"), p.id); err == nil || !strings.Contains(err.Error(), "tracing.keep") {
		t.Errorf("%v, %q; want that tracing.keep is to be set", err, out)
	}
}
