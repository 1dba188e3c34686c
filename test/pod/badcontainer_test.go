package pod

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestBadContainers(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	dir := t.TempDir()
	at := func(path string) option { return volume(&runtime.Mount{HostPath: dir, ContainerPath: path}) }
	tests := []struct {
		name   string
		change option
		code   codes.Code
		words  []string
	}{
		{"no metadata", func(c *runtime.ContainerConfig) { c.Metadata = nil }, codes.InvalidArgument, []string{"metadata"}},
		{"no image", func(c *runtime.ContainerConfig) { c.Image = nil }, codes.InvalidArgument, []string{"image"}},
		{"image that is not there", image("registry.tare.test/none:none"), codes.NotFound, []string{"image", "registry.tare.test/none:none"}},
		{"malformed image", image("http://:Not A Name"), codes.NotFound, []string{"Not A Name"}},
		{"host path that is not there", volume(&runtime.Mount{HostPath: "/no/such/path", ContainerPath: "/x"}), codes.InvalidArgument, []string{"mounts[0].host_path", "/no/such/path"}},
		{"relative host path", volume(&runtime.Mount{HostPath: "path", ContainerPath: "/x"}), codes.InvalidArgument, []string{"mounts[0].host_path"}},
		{"relative container path", at("x"), codes.InvalidArgument, []string{"mounts[0].container_path"}},
		{"volume over the root", at("/"), codes.InvalidArgument, []string{"container_path", `"/"`}},
		{"volume over the root in disguise", at("/x/.."), codes.InvalidArgument, []string{"container_path"}},
		{"volume over /proc", at("/proc"), codes.InvalidArgument, []string{"container_path", "/proc"}},
		{"volume over a part of /proc", at("/x/../proc/sys"), codes.InvalidArgument, []string{"container_path"}},
		{"log path goes up", func(c *runtime.ContainerConfig) { c.LogPath = "../x.log" }, codes.InvalidArgument, []string{"log_path"}},
		{"log path goes up inside", func(c *runtime.ContainerConfig) { c.LogPath = "a/../../x.log" }, codes.InvalidArgument, []string{"log_path"}},
		{"absolute log path", func(c *runtime.ContainerConfig) { c.LogPath = "/tmp/x.log" }, codes.InvalidArgument, []string{"log_path"}},
		{"user that is not in the image", secured(func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUsername = "nosuch" }), codes.InvalidArgument, []string{"run_as_username", "nosuch"}},
		{"group without user", secured(func(s *runtime.LinuxContainerSecurityContext) { s.RunAsGroup = &runtime.Int64Value{Value: 1} }), codes.InvalidArgument, []string{"run_as_group"}},
		{"user twice", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsUsername = &runtime.Int64Value{Value: 1}, "root"
		}), codes.InvalidArgument, []string{"run_as_user"}},
		{"privileged", secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }), codes.InvalidArgument, []string{"privileged"}},
		{"capability", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Capabilities = &runtime.Capability{AddCapabilities: []string{"FLY"}}
		}), codes.InvalidArgument, []string{"add_capabilities[0]", "FLY"}},
		{"target that is not there", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Pid, s.NamespaceOptions.TargetId = runtime.NamespaceMode_TARGET, "none"
		}), codes.InvalidArgument, []string{"target_id", "none"}},
		{"shared PIDs in a pod without", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Pid = runtime.NamespaceMode_POD
		}), codes.InvalidArgument, []string{"pid"}},
		{"device that is not there", func(c *runtime.ContainerConfig) {
			c.Devices = []*runtime.Device{{HostPath: "/dev/none", ContainerPath: "/dev/none", Permissions: "r"}}
		}, codes.InvalidArgument, []string{"devices[0]", "/dev/none"}},
		{"variable", func(c *runtime.ContainerConfig) { c.Envs = []*runtime.KeyValue{{Key: "A=B"}} }, codes.InvalidArgument, []string{"envs[0]"}},
		{"relative working directory", func(c *runtime.ContainerConfig) { c.WorkingDir = "x" }, codes.InvalidArgument, []string{"working_dir"}},
		{"NUL byte", command("sh\x00"), codes.InvalidArgument, []string{"command[0]"}},
		{"AppArmor profile", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: "nosuch"}
		}), codes.FailedPrecondition, []string{"apparmor", "nosuch"}},
		{"seccomp profile", secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: "/no/such.json"}
		}), codes.FailedPrecondition, []string{"/no/such.json"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			id, err := p.tryCreate(p.containerConfig(tt.change))
			if err == nil { // some things show only now
				c := &ctr{p, id, p.containerConfig()}
				err = c.tryStart()
				defer c.tryRemove()
			}
			refused(t, err, tt.code, tt.words...)
		})
	}
	p.start(sleeper)
}

// TestBadStarts: what is wrong shows in the container's root file system only.
func TestBadStarts(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	tests := []struct {
		name   string
		change []option
		words  []string
	}{
		{"not found", []option{command("/no/such/program")}, []string{"/no/such/program", "not found"}},
		{"not found in PATH", []option{command("nosuchprogram")}, []string{"nosuchprogram", "not found"}},
		{"not executable", []option{command("/etc/passwd")}, []string{"/etc/passwd", "not executable"}},
		{"directory", []option{command("/etc")}, []string{"/etc", "not executable"}},
		{"below a file", []option{command("/etc/passwd/x")}, []string{"/etc/passwd/x"}},
		{"working directory is a file", []option{sleeper, func(c *runtime.ContainerConfig) { c.WorkingDir = "/etc/passwd" }}, []string{"/etc/passwd"}},
		{"working directory below a file", []option{sleeper, func(c *runtime.ContainerConfig) { c.WorkingDir = "/etc/passwd/x" }}, []string{"/etc/passwd/x"}},
		{"working directory where none can be", []option{sleeper, func(c *runtime.ContainerConfig) { c.WorkingDir = "/sys/x" }}, []string{"/sys/x"}},
		{"no name", []option{command("")}, []string{`exec ""`}},
		{"long", []option{command("echo", strings.Repeat("x", 200<<10))}, []string{`exec "echo"`, "more than the kernel takes"}},
		{"long variable", []option{sleeper, func(c *runtime.ContainerConfig) {
			c.Envs = []*runtime.KeyValue{{Key: "A", Value: bytes.Repeat([]byte("x"), 200<<10)}}
		}}, []string{"more than the kernel takes"}},
		{"volume below a file", []option{sleeper, volume(&runtime.Mount{HostPath: "/tmp", ContainerPath: "/etc/passwd/x"})}, []string{"/etc/passwd/x"}},
	}
	for _, tt := range tests {
		for _, user := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{true: " in a user namespace"}[user], func(t *testing.T) {
				leavesNothing(t, d)
				in := p
				if user {
					in = d.runPod(t, inUserNS)
				}
				c := in.create(tt.change...)
				refused(t, c.tryStart(), codes.InvalidArgument, tt.words...)
				s := c.status()
				if s.State != runtime.ContainerState_CONTAINER_EXITED || s.Reason != "StartError" || s.ExitCode != 128 || !strings.Contains(s.Message, tt.words[0]) {
					t.Errorf("container is %s, exit code %d, reason %q, message %q", s.State, s.ExitCode, s.Reason, s.Message)
				}
				if s.FinishedAt < s.CreatedAt {
					t.Errorf("finished at %d, created at %d", s.FinishedAt, s.CreatedAt)
				}
				if err := c.tryStart(); err == nil {
					t.Error("a second start works")
				}
				if err := c.tryRemove(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	s, out := p.output(script("pwd; stat -c %u:%g ."), func(c *runtime.ContainerConfig) { c.WorkingDir = "/made/for/me" })
	if out != "/made/for/me\n0:0\n" {
		t.Errorf("missing working directory: %q, exit code %d", out, s.ExitCode)
	}
}

// TestHostPathGoesAway: the volume is there at create and gone at start.
func TestHostPathGoesAway(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	dir := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := p.create(volume(&runtime.Mount{HostPath: dir, ContainerPath: "/x"}))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	refused(t, c.tryStart(), codes.InvalidArgument, dir)
}

// TestHostileVolumes: links in a volume do not lead a mount below it out of the container.
func TestHostileVolumes(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	dir, inner := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(inner, "mark"), "inner")
	outside := t.TempDir()
	for name, target := range map[string]string{"absolute": outside, "up": strings.Repeat("../", 20) + outside, "proc": "/proc/self", "self": "self"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absolute", "up", "proc", "self"} {
		t.Run(name, func(t *testing.T) {
			c := p.create(sleeper,
				volume(&runtime.Mount{HostPath: dir, ContainerPath: "/volume"}),
				volume(&runtime.Mount{HostPath: inner, ContainerPath: "/volume/" + name + "/target"}))
			if err := c.tryStart(); err != nil {
				t.Logf("refused: %v", err)
			} else if name == "proc" {
				t.Errorf("mounted: %s", c.exec("cat /proc/mounts"))
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
				t.Errorf("outside of the container there is %v, %v", entries, err)
			}
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
		})
	}
}
