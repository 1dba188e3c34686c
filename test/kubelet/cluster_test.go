package kubelet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	defaults "k8s.io/kubernetes/pkg/apis/core/v1"
)

// TestCluster has what kubelets do only for pods of a cluster: static ones may not ask for it.
//
// Not parallel, as those in disruption_test.go: there is one kubelet. Its parts are.
func TestCluster(t *testing.T) {
	cluster := newAPIServer()
	server := httptest.NewServer(cluster)
	config := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c,
  clusters: [{name: c, cluster: {server: %q}}], contexts: [{name: c, context: {cluster: c}}]}`, server.URL)
	if err := os.WriteFile(node.path("kubeconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.restartKubelet(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	if err := node.restartKubelet("--kubeconfig", node.path("kubeconfig")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, *apiServer){
		"projected": testProjected, "updates": testUpdates, "eviction": testEviction, "ephemeral": testEphemeral, "recursive": testRecursiveReadOnly,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cluster)
		})
	}
}

// runPod is runPod with a pod that the cluster has put on the node.
func (a *apiServer) runPod(t *testing.T, name, spec string) *pod {
	t.Helper()
	p := &pod{t: t, name: name, uid: uuid.NewUUID(), cluster: a}
	manifest := p.manifest(spec)
	manifest.Spec.NodeName = nodeName
	defaults.SetObjectDefaults_Pod(manifest)
	a.store(t, "pods", manifest)
	t.Cleanup(p.remove)
	return p
}

// store has the cluster have an object, in the place of one of this name.
func (a *apiServer) store(t *testing.T, resource string, object any) {
	t.Helper()
	data, err := json.Marshal(object)
	if err == nil {
		_, err = a.handle(http.MethodPut, objectKey{resource: resource}, data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// merge patches a cluster's pod.
func (p *pod) merge(patch string) {
	p.t.Helper()
	if _, err := p.cluster.handle(http.MethodPatch, objectKey{"pods", p.name}, []byte(patch)); err != nil {
		p.t.Error(err)
	}
}

// delete has the kubelet end a cluster's pod; it is the cluster's until it has.
func (p *pod) delete() {
	p.t.Helper()
	p.merge(fmt.Sprintf(`{"metadata": {"deletionTimestamp": %q, "deletionGracePeriodSeconds": 1}}`, time.Now().UTC().Format(time.RFC3339)))
}

// testProjected has a volume of every source there is of what a cluster knows.
func testProjected(t *testing.T, cluster *apiServer) {
	cluster.store(t, "configmaps", v1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"one": "1", "two": "2"},
	})
	cluster.store(t, "secrets", v1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: "password"}, Data: map[string][]byte{"password": []byte("open")},
	})
	p := cluster.runPod(t, "projected", `
restartPolicy: Never
serviceAccountName: robot
volumes:
- name: all
  projected:
    defaultMode: 0440
    sources:
    - configMap: {name: settings, items: [{key: two, path: settings/two, mode: 0400}]}
    - secret: {name: password}
    - downwardAPI:
        items:
        - {path: pod/name, fieldRef: {fieldPath: metadata.name}}
        - {path: pod/limit, resourceFieldRef: {containerName: reader, resource: limits.memory, divisor: 1Mi}, mode: 0404}
    - serviceAccountToken: {path: token, audience: vault}
containers:
- name: reader
  resources: {limits: {memory: 64Mi}}
  command:
  - sh
  - -c
  - |
    exec > /dev/termination-log 2>&1
    cd /all
    for f in */* password token; do
      case $f in ..*) continue;; esac
      echo "$f $(stat -L -c %a $f) $(cat $f)"
    done
    (echo x > password) 2>/dev/null || echo read only
  volumeMounts: [{name: all, mountPath: /all, readOnly: true}]
`)
	p.succeeded()
	const want = "pod/limit 404 64\npod/name 440 projected\nsettings/two 400 2\npassword 440 open\ntoken 440 robot for vault\nread only\n"
	if got := p.said("reader"); got != want {
		t.Errorf("the reader says %q, want %q", got, want)
	}
}

// testUpdates changes what a running container has mounted: it sees all of the new, but for a sub-path and its environment, which stay.
func testUpdates(t *testing.T, cluster *apiServer) {
	weather := func(now string) {
		cluster.store(t, "configmaps", v1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Name: "weather"}, Data: map[string]string{"now": now},
		})
	}
	weather("sun")
	p := cluster.runPod(t, "updates", `
volumes:
- name: all
  projected:
    sources:
    - configMap: {name: weather}
    - downwardAPI: {items: [{path: mood, fieldRef: {fieldPath: "metadata.annotations['mood']"}}]}
containers:
- name: c
  command: [sleep, "1000000"]
  env: [{name: NOW, valueFrom: {configMapKeyRef: {name: weather, key: now}}}]
  volumeMounts: [{name: all, mountPath: /all}, {name: all, mountPath: /then, subPath: now}]
`)
	p.ready()
	const look = "for f in /all/now /all/mood /then; do cat $f; echo -n ' '; done; echo $NOW"
	if got := p.exec("c", look); got != "sun  sun sun\n" {
		t.Errorf("at first it sees %q", got)
	}
	weather("rain")
	p.merge(`{"metadata": {"annotations": {"mood": "gloomy"}}}`)
	err := until("it sees the change", func() error {
		if got := p.exec("c", look); got != "rain gloomy sun sun\n" {
			return fmt.Errorf("it sees %q", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// testEviction has a pod end that puts more on the disk than it may.
func testEviction(t *testing.T, cluster *apiServer) {
	p := cluster.runPod(t, "evicted", `
volumes: [{name: disk, emptyDir: {sizeLimit: 1Mi}}]
containers:
- name: c
  command: [sh, -c, "head -c 3m /dev/zero > /disk/file; sleep 1000000"]
  volumeMounts: [{name: disk, mountPath: /disk}]
`)
	if s := p.ended(v1.PodFailed).Status; s.Reason != "Evicted" || !strings.Contains(s.Message, `"disk" exceeds the limit "1Mi"`) {
		t.Errorf("%s: %s", s.Reason, s.Message)
	}
	if err := until("nothing of it runs", p.stopped); err != nil {
		t.Error(err)
	}
}

// testEphemeral debugs a container from another that comes to be in its PID namespace, and in no other's. It may be privileged in a
// pod that is not.
func testEphemeral(t *testing.T, cluster *apiServer) {
	p := cluster.runPod(t, "ephemeral", "containers: [{name: c, command: [sleep, '1000003']}, {name: other, command: [sleep, '1000005']}]")
	p.ready()
	p.merge(`{"spec": {"ephemeralContainers": [{"name": "debugger", "targetContainerName": "c", "image": "` + busybox + `", "command": ["sleep", "1000004"],
		"imagePullPolicy": "IfNotPresent", "securityContext": {"privileged": true}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}]}}`)
	p.awaitContainer("debugger", "runs", func(s v1.ContainerStatus) error {
		if s.State.Running == nil {
			return errNotYet
		}
		return nil
	})
	if seen := p.exec("debugger", "ps"); !strings.Contains(seen, "sleep 1000003") || strings.Contains(seen, "sleep 1000005") {
		t.Errorf("the debugger sees %s", seen)
	}
	if got := p.exec("debugger", "mount -t tmpfs none /tmp && echo privileged"); got != "privileged\n" {
		t.Errorf("the debugger says %q", got)
	}
	own, target, other := p.pidNamespace("debugger"), p.pidNamespace("c"), p.pidNamespace("other")
	if own != target || own == other {
		t.Errorf("its PID namespace is %d, the target's %d, the other's %d", own, target, other)
	}
	if s := p.container("c"); s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the container: %+v", s)
	}
}

// testRecursiveReadOnly mounts are read-only at what is mounted below them, too.
func testRecursiveReadOnly(t *testing.T, cluster *apiServer) {
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	p := cluster.runPod(t, "recursive", fmt.Sprintf(`
volumes: [{name: host, hostPath: {path: %s}}]
containers:
- name: c
  command: [sleep, "1000000"]
  volumeMounts:
  - {name: host, mountPath: /plain, readOnly: true}
  - {name: host, mountPath: /all, readOnly: true, recursiveReadOnly: Enabled}
`, dir))
	p.ready()
	got := p.exec("c", "for d in /plain /plain/below /all /all/below; do touch $d/x 2>/dev/null && echo $d; done; true")
	if got != "/plain/below\n" {
		t.Errorf("writable are %q", got)
	}
}
