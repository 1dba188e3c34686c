package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestEscapeReleaseAgent: a container without CAP_SYS_ADMIN does not get what that gives by a user namespace of its own (CVE-2022-0492);
// nor one with it in a pod that has a user namespace. With it on the host, the moves work.
func TestEscapeReleaseAgent(t *testing.T) {
	leavesNothing(t, suite.shared)
	unharmed(t)
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, options...)
			capabilities := []option{func(*runtime.ContainerConfig) {}}
			if len(options) > 0 {
				capabilities = append(capabilities, added("SYS_ADMIN"))
			}
			for _, change := range capabilities {
				c := p.start(sleeper, attack(), change)
				c.keeps("/attack", "release")
				c.keeps("/attack", "release", "here")
				// The container's own view of its cgroups is read-only.
				c.keeps("sh", "-c", "for f in $(find /sys/fs/cgroup -name devices.allow -o -name release_agent -o -name notify_on_release -o -name cgroup.procs); do echo a > $f && echo escaped; done; false")
			}
		})
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		t.Logf("no hierarchies of cgroup v1 on this host: the moves are not seen to work: %v", err)
		return
	}
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	c := p.start(sleeper, attack(), secured(func(s *securityContext) { s.Privileged = true }))
	if got := c.exec("/attack release here"); !strings.Contains(got, "escaped: wrote devices.allow") {
		t.Errorf("with all power the attack says %q", got)
	}
}

// TestEscapeTyping: a process types into its own terminal, and into nobody else's (TIOCSTI): it takes CAP_SYS_ADMIN of the host.
func TestEscapeTyping(t *testing.T) {
	if on, err := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti"); err == nil && strings.TrimSpace(string(on)) == "0" {
		t.Skip("dev.tty.legacy_tiocsti is 0: nobody types")
	}
	leavesNothing(t, suite.shared)
	terminal := func(c *runtime.ContainerConfig) { c.Tty = true }
	into := func(victim *ctr) string { return "/proc/" + lastField(procStatus(victim.pid())["NSpid"]) + "/fd/0" }
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, append([]podOption{onePIDs}, options...)...)
			victim := p.start(sleeper, terminal)
			change := added("SYS_PTRACE")
			if len(options) > 0 {
				change = added("SYS_PTRACE", "SYS_ADMIN")
			}
			c := p.start(sleeper, attack(), change)
			c.keeps("/attack", "push", into(victim), "touch /typed")
			s := c.session(asked{tty: true}, "/attack", "push", into(victim), "touch /typed")
			if s.finish(); strings.Contains(s.stdout.String(), "escaped") {
				t.Errorf("from a terminal of its own: %s", s.stdout)
			}
			s = c.session(asked{tty: true}, "sh", "-c", "/attack push /dev/tty mine && read -r line && echo got $line")
			if code := s.finish(); code != 0 || !strings.Contains(s.stdout.String(), "got mine") {
				t.Errorf("into its own terminal: %d, %q, %s", code, s.stdout, s.outcome)
			}
		})
	}
	p := suite.shared.runPod(t, onePIDs, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	victim := p.start(sleeper, terminal)
	c := p.start(sleeper, attack(), secured(func(s *securityContext) { s.Privileged = true }))
	if got := c.exec("/attack push " + into(victim) + " typed"); !strings.HasPrefix(got, "escaped: typed") {
		t.Errorf("with all power the attack says %q", got)
	}
}

// TestEscapeSetuid: in a pod with a user namespace, a setuid file of the host's root makes nobody more than the pod's root; where a
// volume's owners are not mapped, not even that, and nothing there is anybody's to give away.
func TestEscapeSetuid(t *testing.T) {
	leavesNothing(t, suite.shared)
	dir := t.TempDir()
	program, err := os.ReadFile(filepath.Join(suite.bin, "attack"))
	if err != nil {
		t.Fatal(err)
	}
	setuid := filepath.Join(dir, "setuid")
	writeFile(t, setuid, string(program))
	if err := unix.Chmod(setuid, 0o4755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	writeFile(t, secret, canaryText)
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	host := &runtime.Mount{HostPath: dir, ContainerPath: "/v"}
	mapped := &runtime.Mount{HostPath: dir, ContainerPath: "/v", UidMappings: mapping(), GidMappings: mapping()}
	for name, tt := range map[string]struct {
		options []podOption
		mount   *runtime.Mount
		owner   string // of the host's files, as the container sees them
		uid     int    // on the host, of a user who executes the file
	}{
		"":                                       {nil, host, "0", 0}, // the control: the file works
		"in a user namespace, owners mapped":     {[]podOption{inUserNS}, mapped, "0", hostIDs},
		"in a user namespace, owners not mapped": {[]podOption{inUserNS}, host, "65534", hostIDs + 1000},
	} {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, tt.options...)
			c := p.start(command("/v/setuid", "breed", "0"), asUser(1000), volume(tt.mount))
			c.says("bred")
			if got := strings.Fields(procStatus(c.pid())["Uid"])[1]; got != fmt.Sprint(tt.uid) {
				t.Errorf("the effective user on the host is %s, want %d", got, tt.uid)
			}
			root := p.start(sleeper, volume(tt.mount))
			if got := strings.TrimSpace(root.exec("stat -c %u /v/secret")); got != tt.owner {
				t.Errorf("the owner is %s, want %s", got, tt.owner)
			}
			if tt.owner != "0" {
				for _, move := range []string{"cat /v/secret", "chown 0:0 /v/secret", "chmod 4777 /v/setuid", "echo > /v/secret", "touch /v/new"} {
					root.keeps("sh", "-c", move)
				}
			}
			if got := owner(t, secret); !strings.HasPrefix(got, "0:") {
				t.Errorf("on the host it is %s", got)
			}
		})
	}
}
