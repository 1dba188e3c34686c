package pod

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestFullRoot fills the file system of images, writable layers and address leases. What runs goes on; images
// and pods can be removed, which is how a kubelet makes room; with room again, everything works.
func TestFullRoot(t *testing.T) {
	for name, tmpfs := range map[string]string{"bytes": "size=64m", "inodes": "size=512m,nr_inodes=3000"} {
		t.Run(name, func(t *testing.T) {
			d := ownDaemon(t, options{disk: map[string]string{"root": tmpfs}})
			if err := d.warmUp(); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, d)
			fullRoot(t, d)
			d.serves(t)
			d.pull(t, layers)
		})
	}
}

func fullRoot(t *testing.T, d *daemon) {
	p, doomed := d.runPod(t), d.runPod(t)
	running, created := p.start(sleeper), p.create(sleeper)
	last := doomed.start(sleeper)
	empty := fill(t, d.path("root"))
	defer empty()

	badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("none")}, codes.ResourceExhausted, "no space left")
	if _, err := d.tryPull(t, layers); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("pull: %v", err)
	}
	// A writable layer begins with directories and mount points, which take no bytes of a tmpfs.
	want := codes.OK
	if filesystem(t, d.path("root")).Ffree == 0 {
		want = codes.ResourceExhausted
	}
	if _, err := p.tryCreate(p.containerConfig(sleeper)); status.Code(err) != want {
		t.Errorf("create: %v, want %s", err, want)
	}
	if err := created.tryStart(); status.Code(err) != want {
		t.Errorf("start: %v, want %s", err, want)
	}
	if out := running.exec("echo x >/x && cat /x || echo none"); out != "none\n" {
		t.Errorf("a write into the full layer gives %q", out)
	}
	running.stop(2)
	if err := running.tryRemove(); err != nil {
		t.Errorf("remove container: %v", err)
	}
	pid := last.pid()
	doomed.remove()
	gone(t, pid)
	created.stop(2)
	if err := created.tryRemove(); err != nil {
		t.Errorf("remove container: %v", err)
	}
	if _, err := d.images.RemoveImage(deadline(t), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: busybox}}); err != nil {
		t.Errorf("remove image: %v", err)
	}
	empty()
	d.pull(t, busybox)
	p.start(sleeper)
}

// TestLeasesGone deletes what the network keeps on disk under running pods: these go on, new ones get addresses of
// their own, and all can be stopped.
func TestLeasesGone(t *testing.T) {
	d := ownDaemon(t, options{})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	before := d.runPod(t)
	before.start(sleeper)
	if err := os.RemoveAll(d.path("root/cni")); err != nil {
		t.Fatal(err)
	}
	taken := map[string]bool{before.ip(): true}
	fresh := func(when string) *ctr {
		t.Helper()
		p := d.runPod(t)
		if taken[p.ip()] {
			t.Errorf("%s a pod has the address %s, which is taken", when, p.ip())
		}
		taken[p.ip()] = true
		return p.start(sleeper)
	}
	fresh("after the deletion")
	fresh("after the deletion")
	d.signal(syscall.SIGTERM)
	if err := os.RemoveAll(d.path("root/cni")); err != nil {
		t.Fatal(err)
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	fresh("after a restart").exec("ping -c 1 -W 2 " + before.ip())
	if _, err := os.Stat(filepath.Join(d.path("root/cni"), "leases")); err != nil {
		t.Error(err)
	}
}
