package kubelet

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// forgets is how long a kubelet takes to remove what is left of a deleted pod: it looks once a minute
// (ContainerGCPeriod).
const forgets = time.Minute + patience

// TestDeletion leaves nothing of a pod, in the runtime, among the kubelet's files or in the kernel.
func TestDeletion(t *testing.T) {
	t.Parallel()
	p := runPod(t, "deleted", `
volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]
containers:
- name: c
  command: [sh, -c, "echo x > /disk/x; echo x > /memory/x; sleep 1000000"]
  volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
`)
	uid := string(p.ready().UID)
	if kept := p.traces(uid); len(kept) < 3 {
		t.Fatalf("of a running pod there is %q", kept)
	}
	p.remove()
	err := untilWithin(forgets, "nothing is left", func() error {
		return errors.Join(p.forgotten(), nothing(p.traces(uid)))
	})
	if err != nil {
		t.Error(err)
	}
}

// traces are a pod's directories: volumes, logs, cgroups.
func (p *pod) traces(uid string) (found []string) {
	found, err := node.ofPod(uid)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, pattern := range []string{"kubelet/pods/" + uid, "logs/*_" + uid} {
		paths, _ := filepath.Glob(node.path(pattern))
		found = append(found, paths...)
	}
	return found
}

func nothing(paths []string) error {
	if len(paths) > 0 {
		return fmt.Errorf("there is %q", paths)
	}
	return nil
}

// forgotten is an error as long as the runtime knows anything of a pod.
func (p *pod) forgotten() error {
	pods, err := node.runtime.ListPodSandbox(p.deadline(), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: p.labels()}})
	if err != nil {
		return err
	}
	containers, err := node.runtime.ListContainers(p.deadline(), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{LabelSelector: p.labels()}})
	if err == nil && len(pods.Items)+len(containers.Containers) > 0 {
		err = fmt.Errorf("%d sandboxes and %d containers are", len(pods.Items), len(containers.Containers))
	}
	return err
}
