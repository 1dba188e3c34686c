package kubelet

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestHostNamespaces has a pod in the node's namespaces.
func TestHostNamespaces(t *testing.T) {
	t.Parallel()
	p := runPod(t, "host", `
hostNetwork: true
hostPID: true
hostIPC: true
containers: [{name: c, command: [sleep, "1000000"]}]
`)
	p.ready()
	for _, kind := range []string{"net", "pid", "ipc"} {
		want, err := os.Readlink("/proc/self/ns/" + kind)
		if got := strings.TrimSpace(p.exec("c", "readlink /proc/self/ns/"+kind)); err != nil || got != want {
			t.Errorf("namespace %s, want %s", got, want)
		}
	}
}

// TestHostPort reaches a pod by the node's address.
func TestHostPort(t *testing.T) {
	t.Parallel()
	p := runPod(t, "port", `
containers:
- name: c
  image: registry.k8s.io/e2e-test-images/httpd:2.4.39-4
  ports: [{containerPort: 80, hostPort: 18080}]
  readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
`)
	p.ready()
	resp, err := http.Get("http://" + nodeIP + ":18080/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	p.remove()
	if resp, err := http.Get("http://" + nodeIP + ":18080/"); err == nil {
		resp.Body.Close()
		t.Error("the port answers when the pod is gone")
	}
}

// TestSharedProcesses has containers see each other's processes; alone they do not.
func TestSharedProcesses(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprint(shared), func(t *testing.T) {
			t.Parallel()
			p := runPod(t, fmt.Sprintf("processes-%t", shared), fmt.Sprintf(`
shareProcessNamespace: %t
containers:
- {name: a, command: [sleep, "1000001"]}
- {name: b, command: [sleep, "1000002"]}
`, shared))
			p.ready()
			if got := strings.Contains(p.exec("a", "ps"), "sleep 1000002"); got != shared {
				t.Errorf("a container sees the other's process: %t", got)
			}
		})
	}
}

// TestUserNamespace has root of a pod be somebody else on the node, also as the owner of files.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	p := runPod(t, "user-namespace", `
hostUsers: false
volumes: [{name: disk, emptyDir: {}}]
containers:
- name: c
  command: [sleep, "1000000"]
  volumeMounts: [{name: disk, mountPath: /disk}]
`)
	p.ready()
	var inside, outside, size uint64
	if _, err := fmt.Sscan(p.exec("c", "cat /proc/self/uid_map"), &inside, &outside, &size); err != nil || inside != 0 || outside < 65536 || size != 65536 {
		t.Errorf("uid map %d %d %d, %v", inside, outside, size, err)
	}
	if got := p.exec("c", "touch /disk/file; stat -c %u:%g /disk/file"); got != "0:0\n" {
		t.Errorf("the file belongs to %s", got)
	}
}
