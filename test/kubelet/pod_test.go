package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// busybox is the image of most containers, as the registry serves it.
const busybox = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"

// pod is a static pod, or one of a cluster (cluster_test.go).
type pod struct {
	t       *testing.T
	name    string     // as the kubelet names it
	uid     types.UID  // "": the kubelet makes one of the file
	file    string     // "": of a cluster
	cluster *apiServer // nil: static
}

// runPod has the kubelet run a pod whose specification is in YAML; containers without an image have
// busybox. It is removed when the test is over.
func runPod(t *testing.T, name, spec string) *pod {
	t.Helper()
	return newPod(t, name, "", spec)
}

// newPod is runPod with a uid. With one, a file that changes is the same pod, changed; without, another
// pod.
func newPod(t *testing.T, name string, uid types.UID, spec string) *pod {
	t.Helper()
	p := &pod{t: t, name: name + "-" + nodeName, uid: uid, file: node.path("manifests/" + name + ".json")}
	p.write(spec)
	t.Cleanup(p.remove)
	return p
}

// write makes a specification the pod's.
func (p *pod) write(spec string) {
	p.t.Helper()
	data, err := json.Marshal(p.manifest(spec))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := place(p.file, data); err != nil {
		p.t.Fatal(err)
	}
}

// manifest is the pod with a specification.
func (p *pod) manifest(spec string) *v1.Pod {
	p.t.Helper()
	manifest := &v1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: strings.TrimSuffix(p.name, "-"+nodeName), Namespace: "default", UID: p.uid},
	}
	if err := yaml.UnmarshalStrict([]byte(spec), &manifest.Spec); err != nil {
		p.t.Fatalf("pod %s: %v", p.name, err)
	}
	for _, list := range [][]v1.Container{manifest.Spec.InitContainers, manifest.Spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = busybox
			}
		}
	}
	if manifest.Spec.TerminationGracePeriodSeconds == nil {
		manifest.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	return manifest
}

// place makes a file appear as a whole.
func place(file string, data []byte) error {
	half := filepath.Join(node.dir, filepath.Base(file)+".part")
	if err := os.WriteFile(half, data, 0o644); err != nil {
		return err
	}
	return os.Rename(half, file)
}

// remove deletes a pod and waits until nothing of it runs. The kubelet removes what is left of it
// later.
func (p *pod) remove() {
	p.t.Helper()
	if p.t.Failed() {
		p.describe()
	}
	if p.cluster != nil {
		p.delete()
	} else {
		_ = os.Remove(p.file) // the test may have
	}
	err := until("pod "+p.name+" has ended", func() error {
		pods, err := node.pods()
		switch {
		case err != nil:
			return err
		case pods[p.name] != nil:
			return errors.New("the kubelet has not noticed")
		}
		return p.stopped()
	})
	if err != nil {
		p.t.Error(err)
	}
}

// describe logs what a pod was like when a test failed.
func (p *pod) describe() {
	pods, err := node.pods()
	if err != nil || pods[p.name] == nil {
		p.t.Logf("pod %s: unknown to the kubelet, %v", p.name, err)
		return
	}
	status, _ := yaml.Marshal(pods[p.name].Status) // for people only
	p.t.Logf("status of pod %s:\n%s", p.name, status)
}

// await waits until a pod is as it should be.
func (p *pod) await(what string, holds func(*v1.Pod) error) *v1.Pod {
	p.t.Helper()
	var seen *v1.Pod
	err := until(p.name+" "+what, func() error {
		pods, err := node.pods()
		if err != nil {
			return err
		}
		if seen = pods[p.name]; seen == nil {
			return errors.New("no such pod")
		}
		return holds(seen)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return seen
}

// ready waits until a pod is ready.
func (p *pod) ready() *v1.Pod {
	p.t.Helper()
	return p.await("is ready", func(pod *v1.Pod) error {
		if pod.Status.Phase == v1.PodFailed {
			return finalError{fmt.Errorf("it failed: %s", pod.Status.Message)}
		}
		if !isReady(pod) {
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
}

func isReady(pod *v1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// succeeded waits until all containers of a pod have ended well.
func (p *pod) succeeded() *v1.Pod {
	p.t.Helper()
	return p.ended(v1.PodSucceeded)
}

// ended waits until a pod has come to its end.
func (p *pod) ended(phase v1.PodPhase) *v1.Pod {
	p.t.Helper()
	return p.await("ends", func(pod *v1.Pod) error {
		switch pod.Status.Phase {
		case phase:
			return nil
		case v1.PodFailed, v1.PodSucceeded:
			return finalError{fmt.Errorf("it %s", pod.Status.Phase)}
		}
		return fmt.Errorf("it is %s", pod.Status.Phase)
	})
}
