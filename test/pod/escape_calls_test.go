package pod

import (
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestEscapeCalls: with the profile RuntimeDefault the kernel is asked for nothing that reaches beyond a container, in
// a pod without and with a user namespace. With all power and no filter, each of these calls fails for another reason.
func TestEscapeCalls(t *testing.T) {
	leavesNothing(t, suite.shared)
	unharmed(t)
	made := func(c *ctr) map[string]string {
		said := map[string]string{}
		for line := range strings.Lines(c.exec("/attack calls")) {
			name, errno, _ := strings.Cut(strings.TrimSpace(line), ": ")
			said[name] = errno
		}
		return said
	}
	privileged := secured(func(s *securityContext) { s.Privileged = true })
	all := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	free := made(all.start(sleeper, attack(), privileged))

	filtered := secured(func(s *securityContext) {
		s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
	})
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			said := made(suite.shared.runPod(t, options...).start(sleeper, attack(), filtered))
			for call, without := range free {
				want := "EPERM"
				switch call {
				case "clone3": // for C libraries to fall back to clone, whose flags a filter can see
					want = "ENOSYS"
				case "vmsplice, which all may call":
					want = "EBADF"
				}
				if said[call] != want {
					t.Errorf("%s: %s, want %s", call, said[call], want)
				}
				if without == "EPERM" {
					t.Errorf("%s: without a filter EPERM as well: the call would not show one", call)
				}
			}
		})
	}
}

// TestEscapeTerminals: a process without a terminal has none by /dev/tty or /dev/console, one with a terminal has its own, and
// none made in a container is the host's.
func TestEscapeTerminals(t *testing.T) {
	leavesNothing(t, suite.shared)
	host := terminals(t)
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, options...)
			c := p.start(sleeper, attack())
			c.keeps("sh", "-c", ": </dev/tty && echo escaped")
			c.keeps("sh", "-c", ": </dev/console && echo escaped")
			c.keeps("sh", "-c", "ls /dev/pts | grep -v ptmx | grep .")
			with := p.start(sleeper, func(c *runtime.ContainerConfig) { c.Tty = true })
			if got := with.exec("ls /dev/console; stat -c %t /dev/console; ls /dev/pts | grep -vc ptmx || true"); !strings.HasPrefix(got, "/dev/console\n88\n") {
				t.Errorf("the console of a container with a terminal is %q", got)
			}
			with.keeps("sh", "-c", ": </dev/tty && echo escaped")
			s := with.session(asked{tty: true}, "sh", "-c", "tty; : </dev/tty && echo own; exec 3<>/dev/ptmx && ls /dev/pts")
			if code := s.finish(); code != 0 || !strings.Contains(s.stdout.String(), "own") {
				t.Errorf("a command with a terminal says %d, %q, %s", code, s.stdout, s.outcome)
			}
		})
	}
	for _, name := range terminals(t) { // those of others may have gone
		if !slices.Contains(host, name) {
			t.Errorf("terminal %s of the host is new: there were %v", name, host)
		}
	}
}

// terminals are those of the host's devpts.
func terminals(t *testing.T) (names []string) {
	t.Helper()
	for _, e := range mustReadDir(t, "/dev/pts") {
		names = append(names, e.Name())
	}
	return names
}
