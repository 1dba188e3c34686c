package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestVolumes has one container write and another read what they share, and tell what it found. A volume in
// memory is as large as its limit; one on a disk is so for pods of a cluster (TestCluster).
func TestVolumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := runPod(t, "volumes", fmt.Sprintf(`
restartPolicy: Never
volumes:
- {name: disk, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
- {name: host, hostPath: {path: %s, type: Directory}}
- {name: picture, image: {reference: registry.tare.test/layers:gzip}}
- name: facts
  downwardAPI:
    defaultMode: 0440
    items:
    - {path: pod/name, fieldRef: {fieldPath: metadata.name}}
    - {path: limit, resourceFieldRef: {containerName: reader, resource: limits.memory}}
initContainers:
- name: writer
  command:
  - sh
  - -ec
  - |
    mkdir /disk/below
    echo disk > /disk/below/file
    echo memory > /memory/file
    echo from the pod > /host/answer
  volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}, {name: host, mountPath: /host}]
containers:
- name: reader
  resources: {limits: {memory: 64Mi}}
  env: [{name: WHERE, value: below}]
  command:
  - sh
  - -c
  - |
    exec > /dev/termination-log 2>&1
    cat /disk/file /memory/file /host/file
    grep ' /memory ' /proc/mounts | cut -d' ' -f3
    dd if=/dev/zero of=/memory/much bs=1M count=20 2>&1 | sed -n 's/.*: //p'
    df -k /memory | awk '{size = $2} END {print size}'
    cat /facts/pod/name; echo
    cat /facts/limit; echo
    stat -L -c %%a /facts/limit
    (echo x > /host/file) 2>/dev/null || echo read only
    (echo x > /picture/x) 2>/dev/null || echo read only
    cat /picture/data/changed /part/kept /named/file
  volumeMounts:
  - {name: disk, mountPath: /disk, subPath: below}
  - {name: disk, mountPath: /named, subPathExpr: $(WHERE)}
  - {name: memory, mountPath: /memory}
  - {name: host, mountPath: /host, readOnly: true}
  - {name: facts, mountPath: /facts}
  - {name: picture, mountPath: /picture}
  - {name: picture, mountPath: /part, subPath: data}
`, dir))
	p.succeeded()
	const want = "disk\nmemory\nfrom the host\ntmpfs\nNo space left on device\n16384\nvolumes-node\n67108864\n440\nread only\nread only\nupper\nlower\ndisk\n"
	if got := p.said("reader"); got != want {
		t.Errorf("the reader says %q, want %q", got, want)
	}
	if answer, err := os.ReadFile(filepath.Join(dir, "answer")); string(answer) != "from the pod\n" {
		t.Errorf("on the host: %q, %v", answer, err)
	}
}
