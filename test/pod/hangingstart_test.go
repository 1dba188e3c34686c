package pod

import (
	"context"
	"syscall"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// startBound is how long a daemon may take to start beside what hangs; nothing that it would wait for by itself is as short.
const startBound = 5 * time.Second

// restart kills the daemon and starts it beside something that hangs.
func (d *daemon) restart(t *testing.T) {
	t.Helper()
	d.signal(syscall.SIGKILL)
	began := time.Now()
	if err := d.start(); err != nil {
		t.Fatalf("start beside what hangs: %v", err)
	}
	if took := time.Since(began); took > startBound {
		t.Errorf("the daemon took %s to start", took)
	}
}

// TestStartBesideHangingProcess: containers were ordered to end, and cannot because the kernel holds them for a file
// system. A daemon that starts serves all others; when the file system answers, what was ordered is done.
func TestStartBesideHangingProcess(t *testing.T) {
	d := ownDaemon(t, options{})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	normal := d.neighbours(t)
	leavesNothing(t, d)
	h := newHanging(t)
	defer h.answer()
	onVolume := volume(&runtime.Mount{HostPath: h.dir, ContainerPath: "/v"})
	read := script("while [ ! -e /tmp/go ]; do usleep 5000; done; exec cat /v/file")
	removed, stopped := d.runPod(t).start(read, onVolume), d.runPod(t).start(read, onVolume)
	h.hang()
	for _, c := range []*ctr{removed, stopped} {
		c.exec("touch /tmp/go")
		c.opens()
	}
	d.expires(t, "RemoveContainer", func(ctx context.Context) error {
		_, err := d.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: removed.id})
		return err
	})
	d.expires(t, "RemovePodSandbox", func(ctx context.Context) error {
		_, err := d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: stopped.pod.id})
		return err
	})
	d.restart(t)
	d.undisturbed(t, normal, removed.pod)
	h.answer()
	d.removeAll(t)
}

// TestStartBesideHangingPlugin: the plugin does not answer the DEL of a pod that is gone. A daemon that starts does not
// wait for it.
func TestStartBesideHangingPlugin(t *testing.T) {
	d := ownDaemon(t, options{config: `cni.timeout = "10s"`})
	d.plugin(t, scriptedResult)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	config := podConfig("pod")
	run, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.path("bin/scripted"), "#!/bin/sh\nexec sleep 1000\n")
	d.expires(t, "RemovePodSandbox", func(ctx context.Context) error {
		_, err := d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId})
		return err
	})
	d.restart(t)
	d.plugin(t, scriptedResult)
	d.runPod(t).remove()
	d.removeAll(t)
}
