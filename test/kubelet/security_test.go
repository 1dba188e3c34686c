package kubelet

import (
	"os"
	"strings"
	"testing"
)

// grouped is an image whose user 1000 is in group 50000.
const grouped = "gcr.io/k8s-staging-cri-tools/test-image-predefined-group"

// TestGroups of the image come to those of the pod, unless its policy is strict, as in
// TestSecurityContexts.
func TestGroups(t *testing.T) {
	t.Parallel()
	p := runPod(t, "groups", `
securityContext: {runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [60000], supplementalGroupsPolicy: Merge}
containers: [{name: c, image: `+grouped+`, command: [sleep, "1000000"]}]
`)
	p.ready()
	if got, want := strings.TrimSpace(p.exec("c", "id -G")), "3000 50000 60000"; got != want {
		t.Errorf("its groups are %s, want %s", got, want)
	}
	if u := p.container("c").User; u == nil || u.Linux == nil || len(u.Linux.SupplementalGroups) != 3 {
		t.Errorf("the status says %+v", u)
	}
}

// TestAppArmor has the kernel say under which profile containers run.
func TestAppArmor(t *testing.T) {
	t.Parallel()
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || on[0] != 'Y' {
		t.Skipf("AppArmor is not enabled: %v %q", err, on)
	}
	p := runPod(t, "apparmor", `
securityContext: {appArmorProfile: {type: RuntimeDefault}}
containers:
- {name: usual, command: [sleep, "1000000"]}
- {name: open, command: [sleep, "1000000"], securityContext: {appArmorProfile: {type: Unconfined}}}
- {name: local, command: [sleep, "1000000"], securityContext: {appArmorProfile: {type: Localhost, localhostProfile: tare-default}}}
`)
	p.ready()
	for container, want := range map[string]string{"usual": "tare-default (enforce)", "open": "unconfined", "local": "tare-default (enforce)"} {
		if got := strings.TrimSpace(p.exec(container, "cat /proc/self/attr/current")); got != want {
			t.Errorf("%s runs under %q, want %q", container, got, want)
		}
	}
}

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
  image: `+grouped+`
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
