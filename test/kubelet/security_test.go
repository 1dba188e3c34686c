package kubelet

import (
	"os"
	"strings"
	"testing"
)

// TestSecurityContexts reads from the kernel what was asked for.
func TestSecurityContexts(t *testing.T) {
	t.Parallel()
	if err := os.MkdirAll(node.path("kubelet/seccomp"), 0o755); err != nil {
		t.Fatal(err)
	}
	const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}`
	if err := os.WriteFile(node.path("kubelet/seccomp/no-mkdir.json"), []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	p := runPod(t, "security", `
securityContext: {runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [60000], fsGroup: 4000, supplementalGroupsPolicy: Strict}
volumes: [{name: disk, emptyDir: {}}]
containers:
- name: plain
  image: registry.k8s.io/e2e-test-images/busybox:1.37.0-1
  command: [sleep, "1000000"]
  volumeMounts: [{name: disk, mountPath: /disk}]
- name: confined
  command: [sleep, "1000000"]
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
- name: open
  command: [sleep, "1000000"]
  securityContext: {runAsUser: 0, seccompProfile: {type: Unconfined}, capabilities: {add: [SYS_TIME]}}
- name: local
  command: [sleep, "1000000"]
  securityContext: {seccompProfile: {type: Localhost, localhostProfile: no-mkdir.json}}
`)
	p.ready()
	tests := []struct{ container, ask, want string }{
		{"plain", "id -u; id -g; id -G", "1000 3000 3000 4000 60000"},
		{"plain", "stat -c %g:%a /disk", "4000:2777"},
		{"plain", "touch /disk/file; stat -c %u:%g /disk/file", "1000:4000"},
		{"confined", "grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status | cut -f2", "0000000000000000 1 2"},
		{"confined", "touch /file 2>/dev/null || echo read only", "read only"},
		{"open", "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2; id -u", "0 0 0"},
		{"local", "mkdir /tmp/x 2>&1 | sed 's/.*: //'", "Operation not supported"},
	}
	for _, tt := range tests {
		if got := strings.Join(strings.Fields(p.exec(tt.container, tt.ask)), " "); got != tt.want {
			t.Errorf("%s: %s: %q, want %q", tt.container, tt.ask, got, tt.want)
		}
	}
	if u := p.container("plain").User; u == nil || u.Linux == nil || u.Linux.UID != 1000 || len(u.Linux.SupplementalGroups) != 3 {
		t.Errorf("the status says %+v", u)
	}
}
