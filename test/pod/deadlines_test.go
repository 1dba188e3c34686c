package pod

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// brief is the deadline of a call that cannot be answered.
	brief = 300 * time.Millisecond
	// late is by how much the daemon may answer after it, on a busy machine, too; what hangs here does so for longer. Package cri's
	// tests are exact.
	late = time.Second
)

// neighbours is how many pods come and go beside one that hangs.
const neighbours = 20

// TestHangingVolume: a volume that answers nothing holds up the calls about its container, each until its deadline, and
// nobody else; when it answers again, all is as it should be.
func TestHangingVolume(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	normal := d.neighbours(t)
	leavesNothing(t, d)

	t.Run("create", func(t *testing.T) {
		h := newHanging(t)
		defer h.answer()
		p := d.runPod(t)
		config := p.containerConfig(sleeper, volume(&runtime.Mount{HostPath: h.dir, ContainerPath: "/v"}))
		h.hang()
		d.expires(t, "CreateContainer", func(ctx context.Context) error {
			_, err := d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
			return err
		})
		d.undisturbed(t, normal, p)
		p.start(sleeper).exec("true") // nor does its own pod notice
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := d.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("stop the pod of a container that is being created: %v", err)
		}
		h.answer()
	})
	t.Run("start", func(t *testing.T) {
		h := newHanging(t)
		defer h.answer()
		p := d.runPod(t)
		c := p.create(sleeper, volume(&runtime.Mount{HostPath: h.dir, ContainerPath: "/v"}))
		h.hang()
		d.expires(t, "StartContainer", func(ctx context.Context) error {
			_, err := d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: c.id})
			return err
		})
		d.undisturbed(t, normal, p)
		h.answer()
		await(t, "what was begun is finished", func() error {
			if s := c.status(); s.State != runtime.ContainerState_CONTAINER_RUNNING {
				return fmt.Errorf("container is %s", s.State)
			}
			return nil
		})
	})
	t.Run("run", func(t *testing.T) {
		h := newHanging(t)
		defer h.answer()
		p := d.runPod(t)
		onVolume := volume(&runtime.Mount{HostPath: h.dir, ContainerPath: "/v"})
		c := p.start(sleeper, onVolume)
		stuck := p.start(script("while [ ! -e /tmp/go ]; do usleep 5000; done; exec cat /v/file"), onVolume)
		h.hang()
		d.expires(t, "ExecSync", func(ctx context.Context) error {
			_, err := d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"cat", "/v/file"}})
			return err
		})
		// The process is in the kernel, which waits for the file system's answer before it lets even
		// SIGKILL end it (request_wait_answer in fs/fuse/dev.c).
		stuck.exec("touch /tmp/go")
		stuck.opens()
		d.expires(t, "StopContainer", func(ctx context.Context) error {
			_, err := d.runtime.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: stuck.id})
			return err
		})
		d.undisturbed(t, normal, p)
		d.signal(syscall.SIGKILL)
		if err := d.start(); err != nil {
			t.Fatalf("start beside a hanging volume: %v", err)
		}
		d.undisturbed(t, normal, p)
		h.answer()
		stuck.finish()
		if got := c.exec("cat /v/file"); got != "text\n" {
			t.Errorf("the volume has %q", got)
		}
	})
	t.Run("log", func(t *testing.T) {
		h := newHanging(t)
		defer h.answer()
		p := d.runPod(t, func(c *runtime.PodSandboxConfig) { c.LogDirectory = filepath.Join(h.dir, "logs") })
		c := p.start(script("i=0; while :; do echo $i; i=$((i+1)); usleep 1000; done"))
		c.says("10")
		h.hang()
		d.expires(t, "ReopenContainerLog", func(ctx context.Context) error {
			_, err := d.runtime.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: c.id})
			return err
		})
		d.undisturbed(t, normal, p)
		h.answer()
		c.stop(0)
		for i, e := range readLog(t, c.logFile()) {
			if e.content != fmtInt(i) {
				t.Fatalf("line %d of the log is %q", i, e.content)
			}
		}
	})
}

// TestHangingPlugin: one pod's CNI plugin that hangs is that pod's matter alone.
func TestHangingPlugin(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	d.plugin(t, `case $CNI_ARGS in *K8S_POD_NAME=hangs*) while [ ! -e `+d.path("answer")+` ]; do sleep 0.01; done ;; esac; `+scriptedResult)
	normal := d.neighbours(t)
	leavesNothing(t, d)
	config := podConfig("hangs")
	request := &runtime.RunPodSandboxRequest{Config: config}
	d.expires(t, "RunPodSandbox", func(ctx context.Context) error {
		_, err := d.runtime.RunPodSandbox(ctx, request)
		return err
	})
	d.undisturbed(t, normal, nil)
	writeFile(t, d.path("answer"), "")
	run, err := d.runtime.RunPodSandbox(deadline(t), request) // joins the one under way
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId}); err != nil {
		t.Error(err)
	}
}

// expires makes a call that cannot be answered, and checks when and how the daemon gave it up.
func (d *daemon) expires(t *testing.T, op string, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), brief)
	defer cancel()
	if err := call(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%s beside what hangs: %v, want DeadlineExceeded", op, err)
	}
	// The client gives up by its own clock. What the daemon did is in its log.
	await(t, "the daemon gives up "+op, func() error {
		took, ok := lastOf(d.logFile(), op)
		if !ok {
			return fmt.Errorf("its log has no %s that expired", op)
		}
		if took > brief+late {
			return finalError{fmt.Errorf("it took %s for a deadline of %s", took, brief)}
		}
		return nil
	})
}

// lastOf finds how long the last call of an operation took that expired.
func lastOf(log, op string) (took time.Duration, ok bool) {
	for line := range strings.Lines(log) {
		// Who comes first, the daemon's clock or the client's cancellation, is chance.
		if !strings.Contains(line, "msg=rpc op="+op+" ") || !strings.Contains(line, "code=DeadlineExceeded") && !strings.Contains(line, "code=Canceled") {
			continue
		}
		_, rest, _ := strings.Cut(line, "dur=")
		text, _, _ := strings.Cut(rest, " ")
		if d, err := time.ParseDuration(text); err == nil {
			took, ok = d, true
		}
	}
	return took, ok
}

// neighbours has pods come and go, some at once, and returns how long that took.
func (d *daemon) neighbours(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	inParallel(t, neighbours, func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		return d.life(ctx)
	})
	return time.Since(began)
}

// undisturbed checks that neighbours live as ever beside a pod that hangs (nil: there is none yet), and that
// what is read of all pods is answered.
func (d *daemon) undisturbed(t *testing.T, normal time.Duration, hangs *pod) {
	t.Helper()
	// A neighbour that waits does so for a second or more, if not for ever.
	if took, most := d.neighbours(t), 5*normal+time.Second; took > most {
		t.Errorf("%d pods beside one that hangs took %s, before %s", neighbours, took, normal)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	id := ""
	if hangs != nil {
		id = hangs.id
	}
	reads := map[string]func() error{
		"ListPodSandbox": func() error {
			_, err := d.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
			return err
		},
		"ListContainers": func() error {
			_, err := d.runtime.ListContainers(ctx, &runtime.ListContainersRequest{})
			return err
		},
		"ListContainerStats": func() error {
			_, err := d.runtime.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{})
			return err
		},
		"ListPodSandboxStats": func() error {
			_, err := d.runtime.ListPodSandboxStats(ctx, &runtime.ListPodSandboxStatsRequest{})
			return err
		},
		"ListPodSandboxMetrics": func() error {
			_, err := d.runtime.ListPodSandboxMetrics(ctx, &runtime.ListPodSandboxMetricsRequest{})
			return err
		},
		"ImageFsInfo": func() error {
			_, err := d.images.ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
			return err
		},
		"PodSandboxStatus": func() error {
			if hangs == nil {
				return nil
			}
			_, err := d.runtime.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id})
			return err
		},
	}
	var wg sync.WaitGroup
	for name, read := range reads {
		wg.Go(func() {
			if err := read(); err != nil {
				t.Errorf("%s beside a pod that hangs: %v", name, err)
			}
		})
	}
	wg.Wait()
}
