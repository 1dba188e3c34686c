package kubelet

import (
	"context"
	"errors"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// collectEvery is a kubelet's pause between collections of images (ImageGCPeriod); the one at its
// start finds all images too young.
const collectEvery = 5 * time.Minute

// unused is an image that no pod has. It is there when the kubelet starts: of an image that comes
// later, kubelets take the time of a collection for its age.
const unused = "registry.tare.test/layers:none"

func (m *machine) pullUnused() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := m.images.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: unused}})
	return err
}

// TestImageGC has an image that nobody uses removed, when the kubelet has been told that the disk
// is too full whatever there is on it. Images of pods stay.
func TestImageGC(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes more than", collectEvery)
	}
	p := runPod(t, "image-user", "containers: [{name: c, command: [sleep, '1000000']}]")
	p.ready()
	if err := untilWithin(collectEvery+patience, "the unused image is gone", func() error { return p.absent(unused) }); err != nil {
		t.Error(err)
	}
	if err := p.absent(busybox); err == nil {
		t.Error("the pod's image is gone, too")
	}
}

// absent is an error as long as the runtime has an image.
func (p *pod) absent(ref string) error {
	resp, err := node.images.ImageStatus(p.deadline(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err == nil && resp.Image != nil {
		err = errors.New("the image is there")
	}
	return err
}
