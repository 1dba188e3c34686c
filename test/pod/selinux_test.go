package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// needsSELinux skips a test where the kernel has no policy that knows containers.
func needsSELinux(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		t.Skip("SELinux is not enabled:", err)
	}
	if label := processLabel(t, os.Getpid()); label == "kernel" {
		t.Skip("SELinux has no policy")
	}
}

func processLabel(t *testing.T, pid int) string {
	t.Helper()
	label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(label), "\x00\n ")
}

func fileLabel(t *testing.T, path string) string {
	t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, "security.selinux", buf)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatalf("label of %s: %v", path, err)
	}
	return strings.TrimSuffix(string(buf[:n]), "\x00")
}

func selinux(o *runtime.SELinuxOption) option {
	return secured(func(s *runtime.LinuxContainerSecurityContext) { s.SelinuxOptions = o })
}

func selinuxPod(o *runtime.SELinuxOption) podOption {
	return func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.SelinuxOptions = o }
}

// level is the categories of a label.
func level(label string) string { return strings.SplitN(label, ":", 4)[3] }

// Contexts the policy has for containers, without the level.
const (
	confined = "system_u:system_r:container_t:"
	content  = "system_u:object_r:container_file_t:"
)

// TestSELinuxOfPods: a pod has a level of its own, which its containers share.
func TestSELinuxOfPods(t *testing.T) {
	needsSELinux(t)
	leavesNothing(t, suite.shared)
	var levels []string
	for _, pod := range []struct {
		handler string
		options []podOption
	}{{}, {}, {"", []podOption{inUserNS}}, {isolated, []podOption{inUserNS}}} {
		p := suite.shared.runPodBy(t, pod.handler, pod.options...)
		a, b := p.start(sleeper), p.start(sleeper)
		label := processLabel(t, a.pid())
		if !strings.HasPrefix(label, confined+"s0:c") || slices.Contains(levels, level(label)) {
			t.Errorf("a container runs as %q, others have %q", label, levels)
		}
		levels = append(levels, level(label))
		if other := processLabel(t, b.pid()); other != label {
			t.Errorf("its neighbour runs as %q, and not as %q", other, label)
		}
		if got := strings.Trim(a.exec("cat /proc/self/attr/current"), "\x00\n "); got != label {
			t.Errorf("an exec runs as %q, and not as %q", got, label)
		}
		for _, path := range []string{"/", "/etc/passwd", "/dev", "/dev/null", "/dev/shm", "/dev/pts", "/proc/acpi", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"} {
			// Nodes are the host's in a user namespace, where nothing is masked either.
			if pod.options != nil && (path == "/dev/null" || path == "/proc/acpi") {
				continue
			}
			if got := fileLabel(t, fmt.Sprintf("/proc/%d/root%s", a.pid(), path)); got != content+level(label) {
				t.Errorf("%s is %q", path, got)
			}
		}
		a.exec("echo written > /new && cat /new")
		if got := fileLabel(t, fmt.Sprintf("/proc/%d/root/new", a.pid())); got != content+level(label) {
			t.Errorf("a new file is %q", got)
		}
	}
}

// TestSELinuxOptions: what requests ask for.
func TestSELinuxOptions(t *testing.T) {
	needsSELinux(t)
	leavesNothing(t, suite.shared)
	daemons := processLabel(t, suite.shared.keeperPID())
	for _, tt := range []struct {
		name      string
		pod       *runtime.SELinuxOption
		container *runtime.SELinuxOption
		options   []option
		want      string
	}{
		{name: "the pod's level", pod: &runtime.SELinuxOption{Level: "s0:c7,c8"}, want: confined + "s0:c7,c8"},
		{name: "the pod's level, the container's type", pod: &runtime.SELinuxOption{Level: "s0:c7,c8"}, container: &runtime.SELinuxOption{Type: "spc_t"}, want: "system_u:system_r:spc_t:s0:c7,c8"},
		{name: "the container's level", pod: &runtime.SELinuxOption{Level: "s0:c7,c8"}, container: &runtime.SELinuxOption{Level: "s0:c9"}, want: confined + "s0:c9"},
		{name: "all", container: &runtime.SELinuxOption{User: "system_u", Role: "system_r", Type: "spc_t", Level: "s0"}, want: "system_u:system_r:spc_t:s0"},
		{name: "privileged", pod: &runtime.SELinuxOption{Level: "s0:c7,c8"}, options: []option{privileged}, want: daemons},
		{name: "privileged, with a type", pod: &runtime.SELinuxOption{Level: "s0:c7"}, container: &runtime.SELinuxOption{Type: "spc_t"}, options: []option{privileged}, want: "system_u:system_r:spc_t:s0:c7"},
		{name: "no new privileges", pod: &runtime.SELinuxOption{Level: "s0:c3"}, options: []option{secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NoNewPrivs = true
			s.RunAsUser = &runtime.Int64Value{Value: 1000}
		})}, want: confined + "s0:c3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := suite.shared.runPod(t, selinuxPod(tt.pod), privilegedPod).start(append(tt.options, sleeper, selinux(tt.container))...)
			if got := processLabel(t, c.pid()); got != tt.want {
				t.Errorf("runs as %q, want %q", got, tt.want)
			}
		})
	}
	p := suite.shared.runPod(t)
	for _, bad := range []*runtime.SELinuxOption{{Type: "no_such_t"}, {Level: "s99"}, {User: "nobody_u"}, {Role: "nobody_r"}} {
		_, err := suite.shared.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: podConfig("bad", selinuxPod(bad))})
		refused(t, err, codes.InvalidArgument, "linux.security_context.selinux_options", bad.Type+bad.Level+bad.User+bad.Role)
		_, err = p.tryCreate(p.containerConfig(selinux(bad)))
		refused(t, err, codes.InvalidArgument, "linux.security_context.selinux_options", bad.Type+bad.Level+bad.User+bad.Role)
	}
}

// TestSELinuxVolumes: a volume gets the container's label if that is asked for, with all in it.
func TestSELinuxVolumes(t *testing.T) {
	needsSELinux(t)
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, selinuxPod(&runtime.SELinuxOption{Level: "s0:c7,c8"}))
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"), "x")
	mine, theirs := filepath.Join(dir, "link"), t.TempDir()
	if err := os.Symlink(dir, mine); err != nil {
		t.Fatal(err)
	}
	before := fileLabel(t, theirs)
	p.start(sleeper, volume(&runtime.Mount{HostPath: mine, ContainerPath: "/mine", SelinuxRelabel: true}),
		volume(&runtime.Mount{HostPath: theirs, ContainerPath: "/theirs"}))
	for _, path := range []string{dir, filepath.Join(dir, "file")} {
		if got := fileLabel(t, path); got != content+"s0:c7,c8" {
			t.Errorf("%s is %q", path, got)
		}
	}
	if got := fileLabel(t, theirs); got != before {
		t.Errorf("a volume that is not to be relabelled is %q, and was %q", got, before)
	}
	for _, path := range []string{"/etc", "/"} {
		_, err := p.tryCreate(p.containerConfig(volume(&runtime.Mount{HostPath: path, ContainerPath: "/x", SelinuxRelabel: true})))
		refused(t, err, codes.InvalidArgument, "mounts[0].selinux_relabel", path)
	}
}

// TestSELinuxOff: the configuration turns it off.
func TestSELinuxOff(t *testing.T) {
	needsSELinux(t)
	d := ownDaemon(t, options{config: "security.selinux = \"off\"\n"})
	d.pull(t, busybox)
	c := d.runPod(t, selinuxPod(&runtime.SELinuxOption{Type: "no_such_t"})).start(sleeper)
	if got, want := processLabel(t, c.pid()), processLabel(t, d.keeperPID()); got != want {
		t.Errorf("runs as %q, want %q", got, want)
	}
}

// TestSELinuxRestart: levels that pods have stay theirs when the daemon is another.
func TestSELinuxRestart(t *testing.T) {
	needsSELinux(t)
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p := d.runPod(t)
	before := processLabel(t, p.start(sleeper).pid())
	d.signal(unix.SIGTERM)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if after := processLabel(t, p.start(sleeper).pid()); after != before {
		t.Errorf("a container made after the restart runs as %q, and not as %q", after, before)
	}
}
