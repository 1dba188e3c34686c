package pod

import (
	"context"
	"slices"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// lister asks one of the calls that list things, for what passes a filter, and returns ids.
type lister[F any] struct {
	name string
	ask  func(ctx context.Context, t *testing.T, d *daemon, f *F) []string
}

func ids[W interface{ GetId() string }](items []W) []string {
	out := []string{}
	for _, i := range items {
		out = append(out, i.GetId())
	}
	slices.Sort(out)
	return out
}

var podListers = []lister[runtime.PodSandboxFilter]{
	{"ListPodSandbox", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.PodSandboxFilter) []string {
		resp, err := d.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return ids(resp.Items)
	}},
	{"StreamPodSandboxes", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.PodSandboxFilter) []string {
		stream, err := d.runtime.StreamPodSandboxes(ctx, &runtime.StreamPodSandboxesRequest{Filter: f})
		return ids(received(t, stream, err, (*runtime.StreamPodSandboxesResponse).GetPodSandboxes))
	}},
}

var podStatsListers = []lister[runtime.PodSandboxStatsFilter]{
	{"ListPodSandboxStats", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.PodSandboxStatsFilter) []string {
		resp, err := d.runtime.ListPodSandboxStats(ctx, &runtime.ListPodSandboxStatsRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return ids(attributes(resp.Stats))
	}},
	{"StreamPodSandboxStats", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.PodSandboxStatsFilter) []string {
		stream, err := d.runtime.StreamPodSandboxStats(ctx, &runtime.StreamPodSandboxStatsRequest{Filter: f})
		return ids(attributes(received(t, stream, err, (*runtime.StreamPodSandboxStatsResponse).GetPodSandboxStats)))
	}},
}

var ctrListers = []lister[runtime.ContainerFilter]{
	{"ListContainers", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.ContainerFilter) []string {
		resp, err := d.runtime.ListContainers(ctx, &runtime.ListContainersRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return ids(resp.Containers)
	}},
	{"StreamContainers", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.ContainerFilter) []string {
		stream, err := d.runtime.StreamContainers(ctx, &runtime.StreamContainersRequest{Filter: f})
		return ids(received(t, stream, err, (*runtime.StreamContainersResponse).GetContainers))
	}},
}

var ctrStatsListers = []lister[runtime.ContainerStatsFilter]{
	{"ListContainerStats", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.ContainerStatsFilter) []string {
		resp, err := d.runtime.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return ids(attributes(resp.Stats))
	}},
	{"StreamContainerStats", func(ctx context.Context, t *testing.T, d *daemon, f *runtime.ContainerStatsFilter) []string {
		stream, err := d.runtime.StreamContainerStats(ctx, &runtime.StreamContainerStatsRequest{Filter: f})
		return ids(attributes(received(t, stream, err, (*runtime.StreamContainerStatsResponse).GetContainerStats)))
	}},
}

// passes checks that each call answers a filter with these ids.
func passes[F any](t *testing.T, listers []lister[F], name string, f *F, want ...string) {
	t.Helper()
	slices.Sort(want)
	for _, l := range listers {
		if got := l.ask(deadline(t), t, suite.shared, f); !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("%s, %s: %q, want %q", l.name, name, got, want)
		}
	}
}

// prefix is short, and yet enough to name one of few things.
func prefix(id string) string { return id[:13] }

// TestFilters gives every call that lists things every filter it knows.
func TestFilters(t *testing.T) {
	leavesNothing(t, suite.shared)
	labels := func(color string) podOption {
		return func(c *runtime.PodSandboxConfig) { c.Labels["suite"], c.Labels["color"] = t.Name(), color }
	}
	colored := func(color string) option {
		return func(c *runtime.ContainerConfig) {
			c.Labels = map[string]string{"suite": t.Name(), "color": color, "io.kubernetes.pod.uid": "x"}
		}
	}
	red, blue, stopped := suite.shared.runPod(t, labels("red")), suite.shared.runPod(t, labels("blue")), suite.shared.runPod(t, labels("red"))
	runs, made, ended := red.start(sleeper, colored("red")), blue.create(sleeper, colored("red")), blue.start(script("exit 0"), colored("blue"))
	ended.finish()
	if _, err := stopped.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: stopped.id}); err != nil {
		t.Fatal(err)
	}
	ours := func(pairs ...string) map[string]string {
		out := map[string]string{"suite": t.Name()}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	uid := map[string]string{"io.kubernetes.pod.uid": blue.config.Metadata.Uid}
	inState := func(s runtime.PodSandboxState) *runtime.PodSandboxStateValue {
		return &runtime.PodSandboxStateValue{State: s}
	}
	for _, tt := range []struct {
		name        string
		f           *runtime.PodSandboxFilter
		pods, stats []string
	}{
		{"labels", &runtime.PodSandboxFilter{LabelSelector: ours()}, []string{red.id, blue.id, stopped.id}, []string{red.id, blue.id}},
		{"two labels", &runtime.PodSandboxFilter{LabelSelector: ours("color", "red")}, []string{red.id, stopped.id}, []string{red.id}},
		{"no such label", &runtime.PodSandboxFilter{LabelSelector: ours("colour", "red")}, nil, nil},
		{"empty value", &runtime.PodSandboxFilter{LabelSelector: ours("color", "")}, nil, nil},
		{"id", &runtime.PodSandboxFilter{Id: red.id}, []string{red.id}, []string{red.id}},
		{"prefix", &runtime.PodSandboxFilter{Id: prefix(red.id)}, []string{red.id}, []string{red.id}},
		{"id of another label", &runtime.PodSandboxFilter{Id: red.id, LabelSelector: ours("color", "blue")}, nil, nil},
		{"no such id", &runtime.PodSandboxFilter{Id: red.id + "0"}, nil, nil},
		{"pod uid", &runtime.PodSandboxFilter{LabelSelector: uid}, []string{blue.id}, []string{blue.id}},
	} {
		passes(t, podListers, tt.name, tt.f, tt.pods...)
		passes(t, podStatsListers, tt.name, &runtime.PodSandboxStatsFilter{Id: tt.f.Id, LabelSelector: tt.f.LabelSelector}, tt.stats...)
	}
	passes(t, podListers, "ready", &runtime.PodSandboxFilter{LabelSelector: ours(), State: inState(runtime.PodSandboxState_SANDBOX_READY)}, red.id, blue.id)
	passes(t, podListers, "not ready", &runtime.PodSandboxFilter{LabelSelector: ours(), State: inState(runtime.PodSandboxState_SANDBOX_NOTREADY)}, stopped.id)

	for _, tt := range []struct {
		name        string
		f           *runtime.ContainerFilter
		ctrs, stats []string
	}{
		{"labels", &runtime.ContainerFilter{LabelSelector: ours()}, []string{runs.id, made.id, ended.id}, []string{runs.id}},
		{"two labels", &runtime.ContainerFilter{LabelSelector: ours("color", "red")}, []string{runs.id, made.id}, []string{runs.id}},
		{"pod", &runtime.ContainerFilter{PodSandboxId: blue.id}, []string{made.id, ended.id}, nil},
		{"prefix of a pod", &runtime.ContainerFilter{PodSandboxId: prefix(red.id)}, []string{runs.id}, []string{runs.id}},
		{"id", &runtime.ContainerFilter{Id: made.id}, []string{made.id}, nil},
		{"prefix", &runtime.ContainerFilter{Id: prefix(runs.id)}, []string{runs.id}, []string{runs.id}},
		{"id in another pod", &runtime.ContainerFilter{Id: runs.id, PodSandboxId: blue.id}, nil, nil},
		{"no such id", &runtime.ContainerFilter{Id: runs.id + "0"}, nil, nil},
		{"label by which pods are found", &runtime.ContainerFilter{LabelSelector: ours("io.kubernetes.pod.uid", "x")}, []string{runs.id, made.id, ended.id}, []string{runs.id}},
	} {
		passes(t, ctrListers, tt.name, tt.f, tt.ctrs...)
		passes(t, ctrStatsListers, tt.name, &runtime.ContainerStatsFilter{Id: tt.f.Id, PodSandboxId: tt.f.PodSandboxId, LabelSelector: tt.f.LabelSelector}, tt.stats...)
	}
	for state, want := range map[runtime.ContainerState]string{
		runtime.ContainerState_CONTAINER_RUNNING: runs.id, runtime.ContainerState_CONTAINER_CREATED: made.id, runtime.ContainerState_CONTAINER_EXITED: ended.id,
	} {
		passes(t, ctrListers, state.String(), &runtime.ContainerFilter{LabelSelector: ours(), State: &runtime.ContainerStateValue{State: state}}, want)
	}
}
