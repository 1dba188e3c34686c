package pod

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// TestEscapeMounts has an image whose links lead the request's volumes to where the kernel's file systems are: whatever
// is hidden by that is hidden from the container, and nothing of the host changes.
func TestEscapeMounts(t *testing.T) {
	d := suite.shared
	d.pull(t, registry.LocalHost+"/escape:mounts")
	d.pull(t, layers)
	leavesNothing(t, d)
	o := unharmed(t)
	for name, options := range users {
		p := d.runPod(t, options...)
		for _, place := range []string{
			"/to-proc", "/to-proc/sys", "/to-proc/sys/kernel", "/to-proc/self", "/to-proc/self/attr", "/to-proc/self/fd", "/to-proc/1/root",
			"/to-dev", "/to-dev/pts", "/to-dev/null", "/to-sys/kernel", "/to-sys/fs/cgroup", "/up" + o.dir, "/up/proc", "/root-link" + o.dir, "/fd/7" + o.dir,
		} {
			for source, m := range map[string]*runtime.Mount{
				"volume": {HostPath: t.TempDir(), ContainerPath: place},
				"image":  {Image: &runtime.ImageSpec{Image: layers}, Readonly: true, ContainerPath: place}, // CVE-2019-16884
				"file":   {HostPath: o.canary, ContainerPath: place, Readonly: true},
			} {
				t.Run(strings.TrimSpace(fmt.Sprintf("%s of a %s %s", place, source, name)), func(t *testing.T) {
					q := *p
					q.t = t
					c := q.create(sleeper, image(registry.LocalHost+"/escape:mounts"), volume(m), paths([]string{"/proc/kcore", "/proc/timer_list"}, []string{"/proc/sys", "/proc/sysrq-trigger"}))
					if err := c.tryStart(); err != nil {
						if !raced(err) {
							t.Error(err)
						}
					} else {
						c.keeps("sh", "-c", "test -s /proc/timer_list || echo 1 > /proc/sys/kernel/sysrq || echo h > /proc/sysrq-trigger")
						c.keeps("sh", "-c", "ls /proc/*/root"+o.dir+" | grep canary")
						c.run("true")
					}
					o.check()
					if err := c.tryRemove(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// mountsImage has links to the places where the kernel's file systems go, and such as lead out of the root.
func mountsImage(base v1.Layer) (v1.Image, error) {
	layer, err := layerOf([]file{
		symlink("to-proc", "/proc"), symlink("to-dev", "/dev"), symlink("to-sys", "sys"), symlink("up", climb), symlink("root-link", "/proc/1/root"),
		symlink("fd", "/proc/self/fd"), symlink("volume", climb+escapeDir[1:]), symlink("secret", "/proc/self/environ"), symlink("deep", "up/volume"),
	})
	if err != nil {
		return nil, err
	}
	return imageOf(v1.Config{Env: []string{"PATH=/bin"}}, base, layer)
}

// TestEscapeImageVolumes: links in an image lead a volume of it nowhere but into the image (CVE-2022-23648).
func TestEscapeImageVolumes(t *testing.T) {
	d := suite.shared
	ref := registry.LocalHost + "/escape:mounts"
	d.pull(t, ref)
	leavesNothing(t, d)
	unharmed(t)
	escapeTarget(t)
	for name, options := range users {
		p := d.runPod(t, options...)
		for _, sub := range []string{"volume", "volume/canary", "up", "up" + escapeDir, "deep", "deep/canary", "root-link", "root-link" + escapeDir, "secret", "fd", "to-proc/self", "to-proc/1/root", "to-dev"} {
			t.Run(strings.TrimSpace(sub+" "+name), func(t *testing.T) {
				q := *p
				q.t = t
				config := q.containerConfig(sleeper, volume(&runtime.Mount{Image: &runtime.ImageSpec{Image: ref}, Readonly: true, ContainerPath: "/v", ImageSubPath: sub}))
				id, err := q.tryCreate(config)
				c := &ctr{&q, id, config}
				if err == nil {
					err = c.tryStart()
					defer c.tryRemove()
				}
				if err != nil {
					if !strings.Contains(status.Convert(err).Message(), "image_sub_path") {
						t.Error(err)
					}
					return
				}
				c.keeps("sh", "-c", "cat /v /v/canary /v"+escapeDir+"/canary /v/self/environ 2>/dev/null | grep .")
				c.keeps("sh", "-c", "touch /v/new /v"+escapeDir+"/new")
			})
		}
	}
}

// TestEscapeSysctls: no name and no value of a kernel parameter is another one as well (CVE-2022-0811: "+" separated them).
func TestEscapeSysctls(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	pattern := "|" + o.dir + "/program"
	for name, value := range map[string]string{
		"kernel.shm_rmid_forced":                 "1+kernel.core_pattern=" + pattern,
		"net.ipv4.ip_forward":                    "1\nkernel.core_pattern=" + pattern,
		"kernel.core_pattern":                    pattern,
		"kernel/core_pattern":                    pattern,
		"net/../kernel/core_pattern":             pattern,
		"net.ipv4/../../kernel.core_pattern":     pattern,
		"net//..//kernel/core_pattern":           pattern,
		"net.ipv4.ip_forward=1+kernel.core":      pattern,
		"net.ipv4.conf.lo/../../../kernel.sysrq": "1",
		"fs.mqueue/../../kernel/modprobe":        pattern,
		"kernel.modprobe":                        pattern,
		"vm.panic_on_oom":                        "2",
	} {
		config := podConfig("pod", func(c *runtime.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{name: value} })
		resp, err := suite.shared.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
		refused(t, err, codes.InvalidArgument, "sysctls")
		if err == nil {
			(&pod{suite.shared, t, resp.PodSandboxId, config}).remove()
		}
	}
}

// TestEscapeAbstractSockets: a socket without a file is in the host's network, and in no pod's (CVE-2020-15257). A pod on
// the host's network reaches it: the move is one.
func TestEscapeAbstractSockets(t *testing.T) {
	leavesNothing(t, suite.shared)
	l, err := net.Listen("unix", "@"+unique("tare-escape"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, options := range users {
		c := suite.shared.runPod(t, options...).start(sleeper, attack())
		c.keeps("/attack", "abstract")
	}
	c := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }), unnamed).start(sleeper, attack())
	if got := c.exec("/attack abstract"); !strings.HasPrefix(got, "escaped: connected to @") {
		t.Errorf("on the host's network the attack says %q", got)
	}
	for _, pid := range []int{suite.shared.pid(), suite.shared.keeperPID()} {
		if out, err := run("ss", "-xlpH"); err == nil && strings.Contains(out, "@") && strings.Contains(out, fmt.Sprintf("pid=%d,", pid)) {
			for line := range strings.Lines(out) {
				if strings.Contains(line, " @") && strings.Contains(line, fmt.Sprintf("pid=%d,", pid)) {
					t.Errorf("the runtime listens without a file: %s", line)
				}
			}
		}
	}
}

// TestEscapeHostPaths: profiles, devices and logs that are named by paths out of where they belong, or by links there, are
// refused, and no error tells what is in a file that is not theirs.
func TestEscapeHostPaths(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	dir := t.TempDir()
	for name, target := range map[string]string{"profile.json": o.canary, "directory": o.dir, "device": o.canary, "loop": "loop", "fifo-link": "fifo"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	seccomp := func(ref string) option {
		return secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: ref}
		})
	}
	p := suite.shared.runPod(t)
	for name, change := range map[string]option{
		"seccomp profile by a link":         seccomp(dir + "/profile.json"),
		"seccomp profile that goes up":      seccomp(dir + "/x/../../../../../../../../" + o.canary),
		"seccomp profile by a descriptor":   seccomp("/proc/self/fd/3"),
		"seccomp profile that is memory":    seccomp("/proc/self/environ"),
		"seccomp profile that is endless":   seccomp("/dev/zero"),
		"seccomp profile that is a FIFO":    seccomp(dir + "/fifo-link"),
		"seccomp profile, relative":         seccomp("../profile.json"),
		"device by a link":                  device(dir+"/device", "/dev/x", "rw"),
		"device by a link to a directory":   device(dir+"/directory", "/dev/x", "rw"),
		"device by a loop":                  device(dir+"/loop", "/dev/x", "rw"),
		"device that goes up in the root":   device("/dev/full", "/../../.."+o.dir+"/x", "rw"),
		"device over the root":              device("/dev/full", "/", "rw"),
		"log path that goes up":             func(c *runtime.ContainerConfig) { c.LogPath = "a/../../x" },
		"log path, absolute":                func(c *runtime.ContainerConfig) { c.LogPath = o.dir + "/x" },
		"AppArmor profile that is a path":   apparmor(runtime.SecurityProfile_Localhost, "../../"+o.canary),
		"user name that is a path":          secured(func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUsername = "../../etc/passwd" }),
		"group beyond the numbers":          secured(func(s *runtime.LinuxContainerSecurityContext) { s.SupplementalGroups = []int64{1 << 32} }),
		"user beyond the numbers":           asUser(1 << 32),
		"negative user":                     asUser(-1),
		"container path that is not clean":  volume(&runtime.Mount{HostPath: dir, ContainerPath: "/x/../proc/../proc/self"}),
		"sub-path of an image that goes up": volume(&runtime.Mount{Image: &runtime.ImageSpec{Image: busybox}, Readonly: true, ContainerPath: "/v", ImageSubPath: "../" + o.dir}),
	} {
		t.Run(name, func(t *testing.T) {
			q := *p
			q.t = t
			config := q.containerConfig(sleeper, change)
			id, err := q.tryCreate(config)
			c := &ctr{&q, id, config}
			if err == nil {
				err = c.tryStart()
				defer c.tryRemove()
			}
			switch {
			case err == nil && name != "device that goes up in the root":
				t.Error("it starts")
			case err != nil && (strings.Contains(err.Error(), canaryText) || strings.Contains(err.Error(), hostSecret)):
				t.Errorf("the error tells what is in the file: %v", err)
			}
		})
	}
}

// TestEscapeProcWrites: nothing that a container could have put in the place of a file of /proc is written to on its
// behalf (CVE-2025-52881): when a container starts, and is executed into, with all of /proc's files replaced by links to one
// of the host's.
func TestEscapeProcWrites(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	for _, options := range users {
		p := suite.shared.runPod(t, append([]podOption{onePIDs}, options...)...)
		fake := t.TempDir()
		for _, name := range []string{"oom_score_adj", "attr/exec", "attr/apparmor/exec", "attr/keycreate", "fd/1", "uid_map", "gid_map", "setgroups", "cgroup", "sys/kernel/hostname"} {
			link := filepath.Join(fake, "self", name)
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			relink(t, link, o.canary)
		}
		relink(t, filepath.Join(fake, "thread-self"), "self")
		c := p.start(sleeper, added("SYS_ADMIN"), volume(&runtime.Mount{HostPath: fake, ContainerPath: "/fake"}), volume(&runtime.Mount{HostPath: o.dir, ContainerPath: o.dir, Readonly: true}))
		c.exec("mount --bind /fake /proc || exit 0; ls /proc/self/oom_score_adj")
		for range 3 {
			c.run("true")
			if s := c.session(asked{tty: true}, "true"); s.finish() != 0 {
				t.Errorf("a command with a terminal: %s", s.outcome)
			}
		}
	}
}

// TestEscapeFilledState: what a container can write to, files of its pod's among it, is not in the state directory, which is in
// the host's memory.
func TestEscapeFilledState(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	for name, options := range users {
		d.runPod(t, options...).start(sleeper).exec("for f in hosts hostname resolv.conf; do head -c 1m /dev/zero >>/etc/$f; done; true")
		err := filepath.WalkDir(d.path("state"), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			if st, err := e.Info(); err == nil && st.Size() > 1<<20 {
				t.Errorf("%s: a container has made %s %d bytes long", name, path, st.Size())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestEscapeNull: nothing about the host's null device can be changed through that which a process without an input has, nor through
// one that hides a path where a volume is the container's /dev.
func TestEscapeNull(t *testing.T) {
	leavesNothing(t, suite.shared)
	nullStays(t)
	p := suite.shared.runPod(t)
	volume := func(c *runtime.ContainerConfig) {
		c.Mounts = []*runtime.Mount{{HostPath: t.TempDir(), ContainerPath: "/dev"}}
	}
	for _, c := range []*ctr{p.start(sleeper), p.start(command("sleep", "1000000"), volume)} {
		for _, null := range []string{"/proc/1/fd/0", "/proc/self/fd/0", "/proc/kcore"} {
			c.exec("chmod 622 " + null + "; chown 1 " + null + "; touch " + null + "; true")
		}
		if got := c.exec("cat /proc/1/fd/0"); got != "" {
			t.Errorf("the null device has %q", got)
		}
		s := c.session(asked{noStderr: true}, "sh", "-c", "chmod 622 /proc/self/fd/2; echo x > /proc/self/fd/2")
		if code := s.finish(); code != 0 {
			t.Errorf("writing to the null device: %d", code)
		}
	}
}

// nullStays sees that the host's null device has the owner and the mode it had when the test ends.
func nullStays(t *testing.T) {
	t.Helper()
	var before unix.Stat_t
	if err := unix.Stat(os.DevNull, &before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var after unix.Stat_t
		if err := unix.Stat(os.DevNull, &after); err != nil {
			t.Fatal(err)
		}
		if after.Mode != before.Mode || after.Uid != before.Uid {
			t.Errorf("the host's %s is of user %d, mode %#o; before, of %d, %#o", os.DevNull, after.Uid, after.Mode, before.Uid, before.Mode)
			_ = os.Chown(os.DevNull, int(before.Uid), int(before.Gid)) // that this fails is no reason for the host to
			_ = os.Chmod(os.DevNull, os.FileMode(before.Mode&0o777))
		}
	})
}
