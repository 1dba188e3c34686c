package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stuckPlugin is a CNI plugin that never answers, once there is a file named by its second line.
const stuckPlugin = `#!/bin/sh
[ -e %s ] && exec sleep 1000
case "$CNI_COMMAND" in
ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"interface":0,"address":"10.77.0.2/24"}]}' ;;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
esac
`

// TestRestartWithoutCNI has the daemon start under running containers while the network's plugin hangs, and again when it is gone:
// it serves all the same, and does not wait.
func TestRestartWithoutCNI(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	stuck := filepath.Join(t.TempDir(), "stuck")
	if err := os.MkdirAll(d.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	plugin := d.path("bin/stuck")
	if err := os.WriteFile(plugin, fmt.Appendf(nil, stuckPlugin, stuck), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.path("net.d/10-stuck.conflist"), `{"cniVersion":"1.0.0","name":"stuck","plugins":[{"type":"stuck"}]}`)
	p := d.runPod(t)
	c := p.start(sleeper)
	if p.ip() != "10.77.0.2" {
		t.Fatalf("address %q is not the plugin's", p.ip())
	}
	pid := c.pid()
	check := func(what string) {
		t.Helper()
		d.signal(syscall.SIGKILL)
		start := time.Now()
		if err := d.start(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: serving after %d ms", what, time.Since(start).Milliseconds())
		if p.ip() != "10.77.0.2" || c.pid() != pid {
			t.Errorf("%s: address %q, pid %d, was %d", what, p.ip(), c.pid(), pid)
		}
		if got := c.exec("echo ok"); got != "ok\n" {
			t.Errorf("%s: exec says %q", what, got)
		}
	}
	writeFile(t, stuck, "")
	check("the plugin hangs")
	if err := os.Rename(plugin, plugin+".away"); err != nil {
		t.Fatal(err)
	}
	check("the plugin is gone")
	if err := os.Rename(plugin+".away", plugin); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(stuck); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkRestart is from the daemon's start until it serves, with 200 containers that run.
func BenchmarkRestart(b *testing.B) {
	const containers = 200
	d, err := newDaemon("benchmarkrestart", options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := d.stopAll(); err != nil {
			b.Error(err)
		}
	}()
	if err := d.warmUp(); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, containers)
	slots := make(chan struct{}, 8)
	for i := range containers {
		slots <- struct{}{}
		wg.Go(func() { _, _, errs[i] = d.idle(context.Background()); <-slots })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		d.signal(syscall.SIGKILL)
		b.StartTimer()
		if err := d.start(); err != nil {
			b.Fatal(err)
		}
	}
	list, err := d.runtime.ListContainers(context.Background(), &runtime.ListContainersRequest{
		Filter: &runtime.ContainerFilter{State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}}})
	if err != nil || len(list.Containers) != containers {
		b.Errorf("%d containers run, %v, want %d", len(list.GetContainers()), err, containers)
	}
}
