package pod

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// needsAppArmor skips a test where the kernel has no AppArmor.
func needsAppArmor(t *testing.T) {
	t.Helper()
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || on[0] != 'Y' {
		t.Skipf("AppArmor is not enabled: %v %q", err, on)
	}
}

// loadProfile has the kernel know a profile until the test is over.
func loadProfile(t *testing.T, name, rules string) {
	t.Helper()
	text := fmt.Sprintf("profile %q flags=(attach_disconnected) {\n%s\n}\n", name, rules)
	parse(t, text, "--replace")
	t.Cleanup(func() {
		if profileLoaded(t, name) {
			parse(t, text, "--remove")
		}
	})
}

func unloadProfile(t *testing.T, name string) {
	t.Helper()
	parse(t, fmt.Sprintf("profile %q {}\n", name), "--remove")
}

func parse(t *testing.T, text, flag string) {
	t.Helper()
	cmd := exec.Command("apparmor_parser", flag, "--skip-cache")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apparmor_parser %s: %v\n%s", flag, err, out)
	}
}

func profileLoaded(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains("\n"+string(text), "\n"+name+" (")
}

func apparmor(kind runtime.SecurityProfile_ProfileType, ref string) option {
	return secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.Apparmor = &runtime.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
	})
}

func privilegedPod(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }

func privileged(c *runtime.ContainerConfig) { c.Linux.SecurityContext.Privileged = true }

// TestAppArmor compares the label of a container's process and of one that is executed in it with
// what was asked for.
func TestAppArmor(t *testing.T) {
	needsAppArmor(t)
	leavesNothing(t, suite.shared)
	const mine, standard = "tare-e2e", "tare-default (enforce)"
	loadProfile(t, mine, "file, signal, capability,")
	byName := apparmor(runtime.SecurityProfile_Localhost, mine)
	tests := []struct {
		name    string
		handler string
		pod     []podOption
		options []option
		want    string
	}{
		{"none asked for", "", nil, nil, standard},
		{"runtime default", "", nil, []option{apparmor(runtime.SecurityProfile_RuntimeDefault, "")}, standard},
		{"unconfined", "", nil, []option{apparmor(runtime.SecurityProfile_Unconfined, "")}, "unconfined"},
		{"by name", "", nil, []option{byName}, mine + " (enforce)"},
		{"by name with a prefix", "", nil, []option{apparmor(runtime.SecurityProfile_Localhost, "localhost/"+mine)}, mine + " (enforce)"},
		{"by name, deprecated", "", nil, []option{secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.ApparmorProfile = "localhost/" + mine //lint:ignore SA1019 deprecated, but still sent
		})}, mine + " (enforce)"},
		{"user namespace", "", []podOption{inUserNS}, nil, standard},
		{"user namespace, by name", "", []podOption{inUserNS}, []option{byName}, mine + " (enforce)"},
		{"isolated", isolated, []podOption{inUserNS}, nil, standard},
		{"isolated, by name", isolated, []podOption{inUserNS}, []option{byName}, mine + " (enforce)"},
		{"shared PIDs", "", []podOption{podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })}, []option{byName}, mine + " (enforce)"},
		{"nothing more to gain", "", nil, []option{byName, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NoNewPrivs = true
			s.RunAsUser = &runtime.Int64Value{Value: 1000}
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
		})}, mine + " (enforce)"},
		{"filter without no_new_privs", "", nil, []option{byName, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
		})}, mine + " (enforce)"},
		{"privileged", "", []podOption{privilegedPod}, []option{privileged}, "unconfined"},
		{"privileged, runtime default", "", []podOption{privilegedPod}, []option{privileged, apparmor(runtime.SecurityProfile_RuntimeDefault, "")}, "unconfined"},
		{"privileged, by name", "", []podOption{privilegedPod}, []option{privileged, byName}, mine + " (enforce)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := suite.shared.runPodBy(t, tt.handler, tt.pod...).start(append(tt.options, sleeper)...)
			label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", c.pid()))
			if got := strings.TrimSpace(string(label)); err != nil || got != tt.want {
				t.Errorf("container runs as %q, %v, want %q", got, err, tt.want)
			}
			if got := strings.TrimSpace(c.exec("cat /proc/self/attr/apparmor/current")); got != tt.want {
				t.Errorf("exec runs as %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAppArmorDefault tries what the default profile is for, as root with every capability, for whom nothing
// else is in the way.
func TestAppArmorDefault(t *testing.T) {
	needsAppArmor(t)
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.Capabilities = &runtime.Capability{AddCapabilities: []string{"ALL"}}
		s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/acpi"}, nil
	}))
	for _, denied := range []string{
		"mount -t tmpfs x /mnt", "mount -o remount,rw /sys", "mount --bind /etc /mnt",
		": > /proc/sysrq-trigger", "echo 0 > /proc/sys/vm/overcommit_memory", "echo 0 > /proc/sys/kernel/pid_max",
		"echo 1 > /proc/sys/net/ipv4/ip_forward", "head -c 1 /proc/kcore", "ls /sys/kernel/security/apparmor/",
	} {
		if r, err := c.tryExec(0, "sh", "-c", denied); err != nil || r.ExitCode == 0 {
			t.Errorf("%s: exit code %d, %v", denied, r.GetExitCode(), err)
		}
	}
	for _, allowed := range []string{
		"echo 1 > /tmp/x && rm /tmp/x", "cat /proc/sys/kernel/pid_max /proc/meminfo", "echo 100 > /proc/self/oom_score_adj",
		"sleep 100 & kill $!", "ip link", "cat /proc/1/environ > /dev/null",
		"echo 67108864 > /proc/sys/kernel/shmmax",
	} {
		c.exec(allowed)
	}
	c.stop(callTimeout.Milliseconds() / 1000)
	if s := c.status(); s.ExitCode != 0 {
		t.Errorf("exit code %d: the signal to stop did not arrive", s.ExitCode)
	}
}

// TestAppArmorUnloaded: profiles are loaded and unloaded under a running daemon.
func TestAppArmorUnloaded(t *testing.T) {
	needsAppArmor(t)
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	const mine = "tare-e2e-gone"
	loadProfile(t, mine, "file,")
	c := p.create(sleeper, apparmor(runtime.SecurityProfile_Localhost, mine))
	unloadProfile(t, mine)
	refused(t, c.tryStart(), codes.FailedPrecondition, "apparmor", mine)
	if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED || s.Reason != "StartError" {
		t.Errorf("container is %s, reason %q", s.State, s.Reason)
	}
	_, err := p.tryCreate(p.containerConfig(apparmor(runtime.SecurityProfile_Localhost, mine)))
	refused(t, err, codes.FailedPrecondition, "linux.security_context.apparmor", mine, "not loaded")

	p.start(sleeper) // loads the default profile, if nobody has
	unloadProfile(t, "tare-default")
	p.start(sleeper)
	if !profileLoaded(t, "tare-default") {
		t.Error("the default profile is not loaded again")
	}
}

// TestAppArmorWithoutParser: what cannot be loaded is not applied, and the log says so, once.
func TestAppArmorWithoutParser(t *testing.T) {
	needsAppArmor(t)
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Fatal(err)
	}
	if profileLoaded(t, "tare-default") {
		unloadProfile(t, "tare-default")
	}
	if parser, err = filepath.EvalSymlinks(parser); err != nil {
		t.Fatal(err)
	}
	// In the suite's own mount namespace, with a file nobody can execute.
	if err := unix.Mount("/dev/null", parser, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(parser, unix.MNT_DETACH) })
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p := d.runPod(t)
	for range 2 {
		if got := p.start(sleeper).exec("cat /proc/self/attr/apparmor/current"); got != "unconfined\n" {
			t.Errorf("container runs as %q", got)
		}
	}
	if n := strings.Count(d.logFile(), "level=WARN msg=\"containers with the default AppArmor profile run unconfined\""); n != 1 {
		t.Errorf("the log warns %d times, want once", n)
	}
}
