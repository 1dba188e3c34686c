package pod

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/enclose"
)

// defaultCaps is what a container has unless it asks for something else: the fourteen of Docker,
// containerd and others, capabilities(7).
const defaultCaps = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<13 | 1<<18 | 1<<27 | 1<<29 | 1<<31

func TestCredentials(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	tests := []struct {
		name   string
		change func(*runtime.LinuxContainerSecurityContext)
		want   map[string]string
	}{
		{"plain", func(*runtime.LinuxContainerSecurityContext) {}, map[string]string{
			"CapEff": caps(defaultCaps), "CapPrm": caps(defaultCaps), "CapBnd": caps(defaultCaps), "CapInh": caps(0), "CapAmb": caps(0),
			"NoNewPrivs": "0", "Seccomp": "0",
		}},
		{"user", func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = &runtime.Int64Value{Value: 1000} }, map[string]string{
			"CapEff": caps(0), "CapPrm": caps(0), "CapBnd": caps(defaultCaps), "CapInh": caps(0), "CapAmb": caps(0),
			"Uid": "1000\t1000\t1000\t1000",
		}},
		{"no new privileges", func(s *runtime.LinuxContainerSecurityContext) { s.NoNewPrivs = true }, map[string]string{"NoNewPrivs": "1"}},
		{"default seccomp", func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
		}, map[string]string{"Seccomp": "2", "NoNewPrivs": "0", "CapEff": caps(defaultCaps)}},
		{"unconfined", func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
		}, map[string]string{"Seccomp": "0"}},
		{"all dropped but one", func(s *runtime.LinuxContainerSecurityContext) {
			s.Capabilities = &runtime.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"cap_kill"}}
		}, map[string]string{"CapEff": caps(1 << 5), "CapBnd": caps(1 << 5), "CapPrm": caps(1 << 5)}},
		{"one more", func(s *runtime.LinuxContainerSecurityContext) {
			s.Capabilities = &runtime.Capability{AddCapabilities: []string{"SYS_ADMIN"}}
		}, map[string]string{"CapEff": caps(defaultCaps | 1<<21), "CapBnd": caps(defaultCaps | 1<<21)}},
	}
	for _, tt := range tests {
		c := p.start(sleeper, secured(tt.change))
		got := procStatus(c.pid())
		for field, want := range tt.want {
			if got[field] != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, field, got[field], want)
			}
		}
	}
}

func caps(mask uint64) string { return fmt.Sprintf("%016x", mask) }

// TestDescriptors: nothing of the runtime's comes along.
func TestDescriptors(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, options := range [][]podOption{nil, {inUserNS}, {podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })}} {
		p := suite.shared.runPod(t, options...)
		for _, tty := range []bool{false, true} {
			c := p.start(command("sleep", "1000000"), func(c *runtime.ContainerConfig) { c.Tty = tty })
			pid := c.pid()
			var names []string
			for _, e := range mustReadDir(t, procPath(pid, "fd")) {
				names = append(names, e.Name())
				target, err := os.Readlink(procPath(pid, "fd/"+e.Name()))
				if err != nil {
					t.Error(err)
				}
				if !strings.HasPrefix(target, "pipe:") && target != "/dev/null" && target != "/dev/pts/0" {
					t.Errorf("descriptor %s is %s", e.Name(), target)
				}
			}
			if !slices.Equal(names, []string{"0", "1", "2"}) {
				t.Errorf("descriptors %v", names)
			}
			if cwd, err := os.Readlink(procPath(pid, "cwd")); err != nil || cwd != "/" {
				t.Errorf("working directory %s, %v", cwd, err)
			}
		}
	}
	p := suite.shared.runPod(t)
	if _, out := p.output(command("ls", "/proc/self/fd")); out != "0\n1\n2\n3\n" { // 3 is the directory
		t.Errorf("the first process sees its descriptors as %q", out)
	}
	if _, out := p.output(script("env; cat /proc/*/environ")); strings.Contains(out, hostSecret) || strings.Contains(out, enclose.StageVar) {
		t.Errorf("the environment has variables of the host: %q", out)
	}
}

// TestVisible: what a container sees of others is nothing.
func TestVisible(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(command("sleep", "1000000"))
	its := namespaces(t, c.pid())["pid"]
	for _, pid := range processes() {
		if ns, err := os.Readlink(procPath(pid, "ns/pid")); err == nil && ns == its && pid != c.pid() {
			t.Errorf("the container sees %v", cmdline(pid))
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(c.exec("cat /proc/self/mountinfo")), "\n") {
		if strings.Contains(strings.Fields(line)[3], "tare-pod-") && !strings.Contains(line, " /etc/") || strings.Contains(strings.Fields(line)[4], suite.dir) {
			t.Errorf("a mount of the host is in sight: %s", line)
		}
	}
	if got := c.exec("cat /proc/self/cgroup"); strings.Contains(got, c.id) || strings.Contains(got, suite.cgroup) {
		t.Errorf("the container sees where its cgroup is: %q", got)
	}
	if got := c.exec("ls /"); strings.Contains(got, ".old") || strings.Contains(got, "rootfs") {
		t.Errorf("the root has %q", got)
	}
}

func TestMaskedPaths(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, options := range [][]podOption{nil, {inUserNS}} {
		p := suite.shared.runPod(t, options...)
		c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.MaskedPaths = []string{"/proc/kcore", "/proc/timer_list", "/sys/firmware", "/proc/scsi", "/no/such", "/etc/group"}
			s.ReadonlyPaths = []string{"/proc/sys", "/proc/sysrq-trigger", "/no/such", "/tmp"}
		}))
		for cmd, want := range map[string]string{
			"wc -c < /proc/timer_list":                                            "0\n",
			"wc -c < /etc/group":                                                  "0\n",
			"ls /sys/firmware":                                                    "",
			"ls /proc/scsi 2>/dev/null || true":                                   "",
			"(echo h > /proc/sysrq-trigger) 2>/dev/null; echo $?":                 "1\n",
			"(echo 60 > /proc/sys/net/ipv4/tcp_fin_timeout) 2>/dev/null; echo $?": "1\n",
			"touch /tmp/x 2>/dev/null; echo $?":                                   "1\n",
			"touch /sys/x 2>/dev/null; echo $?":                                   "1\n",
		} {
			if got := c.exec(cmd); got != want {
				t.Errorf("user namespace %v: %s: %q, want %q", options != nil, cmd, got, want)
			}
		}
	}
	// None asked for: the defaults.
	c := suite.shared.runPod(t).start(sleeper)
	if got := c.exec("wc -c < /proc/timer_list; (echo 60 > /proc/sys/net/ipv4/tcp_fin_timeout) 2>/dev/null; echo $?"); got != "0\n1\n" {
		t.Errorf("default paths: %q", got)
	}
}

func TestReadonlyRoot(t *testing.T) {
	leavesNothing(t, suite.shared)
	dir := t.TempDir()
	c := suite.shared.runPod(t).start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) { s.ReadonlyRootfs = true }),
		volume(&runtime.Mount{HostPath: dir, ContainerPath: "/rw"}), volume(&runtime.Mount{HostPath: dir, ContainerPath: "/ro", Readonly: true}))
	got := c.exec("for d in / /etc /rw /ro /dev/shm /root; do touch $d/x 2>/dev/null && echo $d; done; true")
	if got != "/rw\n/dev/shm\n" {
		t.Errorf("writable are %q", got)
	}
	if got := c.exec("(echo x >> /etc/hosts) 2>/dev/null; echo $?"); got != "1\n" {
		t.Errorf("/etc/hosts is writable with a read-only root")
	}
}

// TestDevices: nodes of other devices than the default ones cannot be opened, even if made.
func TestDevices(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(sleeper)
	want := "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
	if got := strings.Join(strings.Fields(c.exec("ls /dev")), " "); got != want {
		t.Errorf("/dev has %s, want %s", got, want)
	}
	c.exec("head -c1 /dev/zero > /dev/null; head -c1 /dev/urandom >/dev/null; head -c 1 /dev/full > /dev/null")
	// kmsg, a loop device, mem: what nobody may have.
	const try = "mknod /x%s %s && (head -c1 /x%[1]s > /dev/null) 2>/dev/null; echo $?"
	for name, node := range map[string]string{"kmsg": "c 1 11", "mem": "c 1 1", "disk": "b 254 0", "fuse": "c 10 229"} {
		if got := c.exec(fmt.Sprintf(try, name, node)); got != "1\n" {
			t.Errorf("%s: head says %q", name, got)
		}
	}
	given := p.start(sleeper, func(c *runtime.ContainerConfig) {
		c.Devices = []*runtime.Device{{HostPath: "/dev/kmsg", ContainerPath: "/dev/messages", Permissions: "r"}}
		c.Linux.SecurityContext.Capabilities = &runtime.Capability{AddCapabilities: []string{"SYSLOG"}}
	})
	if got := given.exec("(exec 3< /dev/messages) 2>/dev/null; echo $?; (exec 3> /dev/messages) 2>/dev/null; echo $?"); got != "0\n1\n" {
		t.Errorf("a device that was given for reading: %q", got)
	}
}

// TestPrivileged: what has to work there.
// TestPrivilegedLater adds a privileged container to a pod that has none, as "kubectl debug --profile=sysadmin" does: a kubelet
// says so in the sandbox's configuration that comes with the container's, the sandbox is as it was made.
func TestPrivilegedLater(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	ordinary := procStatus(p.start(sleeper).pid())["CapEff"]
	p.config.Linux.SecurityContext.Privileged = true
	c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }))
	if got := procStatus(c.pid())["CapEff"]; got == ordinary {
		t.Errorf("capabilities %s, an ordinary container's", got)
	}
	if got := procStatus(p.start(sleeper).pid())["CapEff"]; got != ordinary {
		t.Errorf("capabilities of an ordinary container beside it are %s, were %s", got, ordinary)
	}
}

func TestPrivileged(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }))
	if got := c.exec("mount -t tmpfs x /mnt 2>/dev/null || { mkdir -p /mnt; mount -t tmpfs x /mnt; }; ls -d /dev/kmsg; touch /proc/sys/net/ipv4/ip_forward && echo ok"); got != "/dev/kmsg\nok\n" {
		t.Errorf("a privileged container says %q", got)
	}
	all, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	var last int
	if _, err := fmt.Sscan(string(all), &last); err != nil {
		t.Fatal(err)
	}
	host := procStatus(os.Getpid())
	if got := procStatus(c.pid())["CapEff"]; got != caps(1<<(last+1)-1) && got != host["CapBnd"] {
		t.Errorf("capabilities %s, want all of 0-%d", got, last)
	}
}
