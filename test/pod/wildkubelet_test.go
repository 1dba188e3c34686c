package pod

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestWildKubelet is a client that repeats, cancels and reorders its calls: several workers ask for anything, about
// the same few pods, at any time, mostly without the patience to wait for the answer. Every call ends with a code that
// a kubelet can go on with, no pod or container is made twice, and then all that is listed can be removed.
func TestWildKubelet(t *testing.T) {
	const workers, calls = 8, 150
	d := ownDaemon(t, options{})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWild(t, d)
	var wg sync.WaitGroup
	for i := range workers {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			for range calls {
				w.call(random)
			}
		})
	}
	wg.Wait()
	w.unique()
	d.removeAll(t)
	d.serves(t)
}

// wild is a few pods and what is known of them.
type wild struct {
	*daemon
	t    *testing.T
	pods []*runtime.PodSandboxConfig

	mu         sync.Mutex
	sandboxes  []string
	containers []string
}

func newWild(t *testing.T, d *daemon) *wild {
	w := &wild{daemon: d, t: t, sandboxes: []string{"none"}, containers: []string{"none"}}
	for range 4 {
		config := podConfig("wild")
		config.LogDirectory = t.TempDir()
		w.pods = append(w.pods, config)
	}
	return w
}

// expected are the codes that calls in any order may end with.
var expected = map[codes.Code]bool{
	codes.OK: true, codes.Canceled: true, codes.DeadlineExceeded: true,
	codes.NotFound: true, codes.FailedPrecondition: true, codes.AlreadyExists: true,
}

// call makes one call, with a deadline between none to speak of and enough.
func (w *wild) call(random *rand.Rand) {
	patience := time.Duration(random.IntN(40)) * time.Millisecond
	if random.IntN(3) == 0 {
		patience = callTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := w.pods[random.IntN(len(w.pods))]
	attempt := uint32(random.IntN(3))
	w.mu.Lock()
	pod, ctr := w.sandboxes[random.IntN(len(w.sandboxes))], w.containers[random.IntN(len(w.containers))]
	w.mu.Unlock()
	op, err := w.one(ctx, random.IntN(10), config, attempt, pod, ctr)
	if !expected[status.Code(err)] {
		w.t.Errorf("%s: %v", op, err)
	}
}

func (w *wild) one(ctx context.Context, which int, config *runtime.PodSandboxConfig, attempt uint32, pod, ctr string) (op string, err error) {
	switch which {
	case 0, 1:
		config := &runtime.PodSandboxConfig{
			Metadata: &runtime.PodSandboxMetadata{Name: config.Metadata.Name, Uid: config.Metadata.Uid, Namespace: "default", Attempt: attempt},
			Linux:    config.Linux, Labels: config.Labels, LogDirectory: config.LogDirectory,
		}
		resp, err := w.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
		w.learn(&w.sandboxes, resp.GetPodSandboxId())
		return "run pod", err
	case 2, 3:
		c := &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "c", Attempt: attempt}, Image: &runtime.ImageSpec{Image: busybox},
			Command: []string{"sleep", "1000000"}, LogPath: fmt.Sprintf("c-%d.log", attempt),
		}
		resp, err := w.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: pod, Config: c, SandboxConfig: config})
		w.learn(&w.containers, resp.GetContainerId())
		return "create", err
	case 4:
		_, err = w.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: ctr})
		return "start", err
	case 5:
		_, err = w.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: ctr, Cmd: []string{"sleep", "0.01"}, Timeout: 1})
		return "exec", err
	case 6:
		_, err = w.runtime.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: ctr})
		return "stop", err
	case 7:
		_, err = w.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: ctr})
		return "remove", err
	case 8:
		_, err = w.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: pod})
		return "stop pod", err
	}
	_, err = w.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: pod})
	return "remove pod", err
}

func (w *wild) learn(ids *[]string, id string) {
	if id == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	*ids = append(*ids, id)
}

// unique fails if two sandboxes are one attempt of a pod, or two containers one of a container.
func (w *wild) unique() {
	seen := map[string]string{}
	pods, err := w.runtime.ListPodSandbox(deadline(w.t), &runtime.ListPodSandboxRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range pods.Items {
		w.once(seen, fmt.Sprint(p.Metadata.Uid, p.Metadata.Attempt), p.Id)
	}
	containers, err := w.runtime.ListContainers(deadline(w.t), &runtime.ListContainersRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range containers.Containers {
		w.once(seen, fmt.Sprint(c.PodSandboxId, c.Metadata.Name, c.Metadata.Attempt), c.Id)
	}
}

func (w *wild) once(seen map[string]string, key, id string) {
	if other := seen[key]; other != "" {
		w.t.Errorf("%s and %s are both %s", other, id, key)
	}
	seen[key] = id
}
