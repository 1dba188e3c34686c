package pod

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// received reads a stream to its end.
func received[T, W any](t *testing.T, stream grpc.ServerStreamingClient[T], err error, items func(*T) []W) []W {
	t.Helper()
	var out []W
	for err == nil {
		var m *T
		if m, err = stream.Recv(); err == nil {
			out = append(out, items(m)...)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return out
}

// sameIDs compares what a list and a stream name.
func sameIDs[W interface{ GetId() string }](t *testing.T, what string, list, stream []W) {
	t.Helper()
	ids := func(items []W) (out []string) {
		for _, i := range items {
			out = append(out, i.GetId())
		}
		slices.Sort(out)
		return out
	}
	if a, b := ids(list), ids(stream); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%s: list has %q, stream %q", what, a, b)
	}
}

func attributes[S interface{ GetAttributes() A }, A any](stats []S) (out []A) {
	for _, s := range stats {
		out = append(out, s.GetAttributes())
	}
	return out
}

// identity compares metrics by what they are of.
type identity string

func (i identity) GetId() string { return string(i) }

func metricPods(pods []*runtime.PodSandboxMetrics) (out []identity) {
	for _, p := range pods {
		out = append(out, identity(p.PodSandboxId))
	}
	return out
}

func TestStreamsEqualLists(t *testing.T) {
	leavesNothing(t, suite.shared)
	d := suite.shared
	for range 3 {
		p := d.runPod(t)
		p.start(sleeper)
		p.create(sleeper)
	}
	ctx := deadline(t)
	pods, err := d.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	podStream, err := d.runtime.StreamPodSandboxes(ctx, &runtime.StreamPodSandboxesRequest{})
	sameIDs(t, "pods", pods.Items, received(t, podStream, err, (*runtime.StreamPodSandboxesResponse).GetPodSandboxes))

	running := &runtime.ContainerFilter{State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}}
	for name, filter := range map[string]*runtime.ContainerFilter{"containers": nil, "running containers": running} {
		ctrs, err := d.runtime.ListContainers(ctx, &runtime.ListContainersRequest{Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := d.runtime.StreamContainers(ctx, &runtime.StreamContainersRequest{Filter: filter})
		sameIDs(t, name, ctrs.Containers, received(t, stream, err, (*runtime.StreamContainersResponse).GetContainers))
	}

	images, err := d.images.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	imageStream, err := d.images.StreamImages(ctx, &runtime.StreamImagesRequest{})
	sameIDs(t, "images", images.Images, received(t, imageStream, err, (*runtime.StreamImagesResponse).GetImages))

	ctrStats, err := d.runtime.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ctrStream, err := d.runtime.StreamContainerStats(ctx, &runtime.StreamContainerStatsRequest{})
	sameIDs(t, "container stats", attributes(ctrStats.Stats),
		attributes(received(t, ctrStream, err, (*runtime.StreamContainerStatsResponse).GetContainerStats)))

	podStats, err := d.runtime.ListPodSandboxStats(ctx, &runtime.ListPodSandboxStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	statsStream, err := d.runtime.StreamPodSandboxStats(ctx, &runtime.StreamPodSandboxStatsRequest{})
	sameIDs(t, "pod stats", attributes(podStats.Stats),
		attributes(received(t, statsStream, err, (*runtime.StreamPodSandboxStatsResponse).GetPodSandboxStats)))

	metrics, err := d.runtime.ListPodSandboxMetrics(ctx, &runtime.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	metricStream, err := d.runtime.StreamPodSandboxMetrics(ctx, &runtime.StreamPodSandboxMetricsRequest{})
	sameIDs(t, "metrics", metricPods(metrics.PodMetrics),
		metricPods(received(t, metricStream, err, (*runtime.StreamPodSandboxMetricsResponse).GetPodSandboxMetrics)))
}

// TestListingBesideChurn lists pods for people while others come and go: one that is gone when it is asked about is left out.
func TestListingBesideChurn(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	ctx, stop := context.WithCancel(t.Context())
	var churn sync.WaitGroup
	for range 4 {
		churn.Go(func() {
			for ctx.Err() == nil {
				run, err := d.runtime.RunPodSandbox(t.Context(), &runtime.RunPodSandboxRequest{Config: podConfig("churn")})
				if err == nil {
					_, err = d.runtime.RemovePodSandbox(t.Context(), &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if _, err := run(suite.bin+"/tare", "ps", "--state", d.path("state")); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	churn.Wait()
}
