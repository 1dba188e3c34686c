package pod

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// staged are images that share a layer and differ in another.
var staged = []string{
	busybox, "registry.k8s.io/k8s-staging-cri-tools/test-image-1:latest", "registry.k8s.io/k8s-staging-cri-tools/test-image-2:latest",
}

// TestPowerLoss cuts the power of the disk with images, leases and writable layers while images and pods come
// and go, again and again. A daemon on what is left, after a boot, finds every image whole or
// not at all, brings back what is missing, and has nothing of the pods of before.
func TestPowerLoss(t *testing.T) {
	cuts := soaked(100, 4)
	device := newDisk(t, 128<<20)
	root, _ := mountLoop(t, device.file)
	if err := os.Mkdir(filepath.Join(root, "tare"), 0o711); err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{root: filepath.Join(root, "tare")})
	want := d.contents(t)
	clean := d.emptied(t)
	random := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	ctx, cancel := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	for _, ref := range staged {
		busy.Go(func() { d.churn(ctx, t, ref) })
	}
	dir := t.TempDir()
	var left []string
	for i := range cuts {
		time.Sleep(time.Duration(random.IntN(int(200 * time.Millisecond)))) // any moment: there is no event to wait for
		left = append(left, filepath.Join(dir, fmt.Sprint("cut", i)))
		if err := device.cut(random, left[i]); err != nil {
			t.Error(err)
		}
	}
	cancel()
	busy.Wait()
	found := 0
	for i, image := range left {
		t.Run(fmt.Sprint(i), func(t *testing.T) { found += boot(t, image, want, clean) })
		if t.Failed() {
			break // a hundred reports of one fault are no better
		}
		if err := os.Remove(image); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d images were whole after %d cuts, the others absent", found, cuts)
}

// churn pulls an image, runs a pod of it, and removes both, until ctx ends.
func (d *daemon) churn(ctx context.Context, t *testing.T, ref string) {
	for ctx.Err() == nil {
		_, err := d.images.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}})
		if err == nil {
			err = d.life(ctx)
		}
		if err == nil {
			_, err = d.images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: ref}})
		}
		// Pods are made of busybox, which another one may have removed.
		if err != nil && ctx.Err() == nil && status.Code(err) != codes.NotFound {
			t.Errorf("pull, run, remove %s: %v", ref, err)
			return
		}
	}
}

// boot starts a daemon on what a cut left, and returns how many images it had.
func boot(t *testing.T, image string, want map[string]string, clean []string) int {
	root, _ := mountLoop(t, image)
	d := ownDaemon(t, options{root: filepath.Join(root, "tare")})
	pods, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{})
	if err != nil || len(pods.Items) > 0 {
		t.Errorf("pods of before the boot: %v, %v", pods, err)
	}
	whole := 0
	for _, ref := range staged {
		resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Image == nil {
			continue
		}
		whole++
		if got := d.contentOf(t, ref); got != want[ref] {
			t.Errorf("image %s is listed and not whole:\n%s", ref, firstDifference(got, want[ref]))
		}
	}
	for ref, got := range d.contents(t) {
		if got != want[ref] {
			t.Errorf("image %s, pulled after the cut, is not whole:\n%s", ref, firstDifference(got, want[ref]))
		}
	}
	if got := d.emptied(t); !slices.Equal(got, clean) {
		t.Errorf("files below the root that has no pods and no images:\n%s", firstDifference(strings.Join(got, "\n"), strings.Join(clean, "\n")))
	}
	return whole
}

// contents pulls all images and lists what is in each.
func (d *daemon) contents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, ref := range staged {
		d.pull(t, ref)
		out[ref] = d.contentOf(t, ref)
	}
	return out
}

// contentOf lists the files of an image with their digests, by a container of it. What is mounted over the image is left
// out.
func (d *daemon) contentOf(t *testing.T, ref string) string {
	t.Helper()
	const list = `own="-xdev ! -path / ! -path /proc ! -path /sys ! -path /dev ! -path /etc/host* ! -path /etc/resolv.conf"
set -f; find / $own -exec stat -c '%A %u %g %s %N' {} +; find / $own -type f -exec md5sum {} +`
	p := d.runPod(t)
	s, out := p.output(script(list), image(ref))
	if s.ExitCode != 0 || !strings.Contains(out, "/bin/sh") {
		t.Fatalf("list of the files of %s: exit code %d\n%s", ref, s.ExitCode, out)
	}
	p.remove()
	return out
}

// emptied removes all images and lists the files that then are left below the root.
func (d *daemon) emptied(t *testing.T) (files []string) {
	t.Helper()
	list, err := d.images.ListImages(deadline(t), &runtime.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list.Images {
		if _, err := d.images.RemoveImage(deadline(t), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: i.Id}}); err != nil {
			t.Errorf("remove image %s: %v", i.RepoTags, err)
		}
	}
	root, err := filepath.EvalSymlinks(d.path("root"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		// Which address was the last, and what the first pull makes.
		if !strings.Contains(name, "/leases/tare/cursor-") && name != "/images/content/ingest" {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// firstDifference shows the first line that two texts do not share, one side of which may be missing.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		line := func(of []string) string {
			if i < len(of) {
				return of[i]
			}
			return "(nothing)"
		}
		if line(a) != line(b) {
			return fmt.Sprintf("got  %s\nwant %s", line(a), line(b))
		}
	}
	return "none"
}
