package kubelet

import (
	"errors"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// unused is an image that no pod has.
const unused = "registry.tare.test/layers:none"

// TestImageGC has an image that nobody uses removed, by a kubelet that has been told that the disk is
// too full whatever there is on it. Images of pods stay.
//
// Kubelets collect when they start, and then every five minutes (ImageGCPeriod). At the start an image's
// age is 0, which a configuration cannot ask for (SetDefaults_KubeletConfiguration) but an option can;
// or less, if the image was seen first by the look that kubelets take at images beside (images.Start):
// then it takes another start.
//
// Not parallel, as those in disruption_test.go: there is one kubelet.
func TestImageGC(t *testing.T) {
	p := runPod(t, "image-user", "containers: [{name: c, command: [sleep, '1000000']}]")
	before := identity(p.ready())
	_, err := node.images.PullImage(p.deadline(), &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: unused}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.restartKubelet(); err != nil {
			t.Error(err)
		}
	})
	err = until("the unused image is gone", func() error {
		if err := node.restartKubelet("--minimum-image-ttl-duration=0", "--image-gc-low-threshold=0", "--image-gc-high-threshold=1"); err != nil {
			return finalError{err}
		}
		return untilWithin(2*time.Second, "it is collected at the start", func() error { return p.absent(unused) })
	})
	if err != nil {
		t.Error(err)
	}
	if err := p.absent(busybox); err == nil {
		t.Error("the pod's image is gone, too")
	}
	if after := identity(p.ready()); after != before {
		t.Errorf("the pod is %s, before %s", after, before)
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
