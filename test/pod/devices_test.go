package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func device(host, container, permissions string) option {
	return func(c *runtime.ContainerConfig) {
		c.Devices = append(c.Devices, &runtime.Device{HostPath: host, ContainerPath: container, Permissions: permissions})
	}
}

// hostNode makes a device node on the host, with all its parents.
func hostNode(t *testing.T, path string, mode, major, minor uint32) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(path, mode, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(path, mode&0o777); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// deviceTree is a directory of devices: kmsg, and a loop device, which anybody can open whom files and cgroup allow.
func deviceTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	hostNode(t, filepath.Join(dir, "snd/kmsg"), unix.S_IFCHR|0o640, 1, 11)
	hostNode(t, filepath.Join(dir, "snd/by/loop"), unix.S_IFBLK|0o600, 7, 0)
	writeFile(t, filepath.Join(dir, "snd/file"), "no device")
	if err := os.Lchown(filepath.Join(dir, "snd/kmsg"), 0, 44); err != nil { // video, on many hosts
		t.Fatal(err)
	}
	if err := os.Symlink("snd/kmsg", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// showNodes prints nodes as kind, mode, owner, number.
func showNodes(paths ...string) string {
	return "stat -c '%n %F %a %u:%g %t:%T' " + strings.Join(paths, " ")
}

// tryDevice says what can be done with a character device: r, w, both or nothing.
func tryDevice(path string) string {
	return fmt.Sprintf("(exec <%s) 2>/dev/null && printf r; (exec >%[1]s) 2>/dev/null && printf w; echo", path)
}

func TestRequestedDevices(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	dir := deviceTree(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	const kmsg, loop = "character special file 640 0:44 1:b\n", "block special file 600 0:0 7:0\n"
	tests := []struct {
		name    string
		devices []option
		script  string
		want    string
	}{
		{"renamed", []option{device(at("snd/kmsg"), "/dev/messages", "r")}, showNodes("/dev/messages"), "/dev/messages " + kmsg},
		{"by a link", []option{device(at("link"), "/dev/link", "r")}, showNodes("/dev/link"), "/dev/link " + kmsg},
		{"directory", []option{device(at("snd"), "/dev/snd/", "rw")}, showNodes("/dev/snd/kmsg", "/dev/snd/by/loop") + "; ls /dev/snd",
			"/dev/snd/kmsg " + kmsg + "/dev/snd/by/loop " + loop + "by\nkmsg\n"},
		{"elsewhere than in /dev", []option{device(at("snd/kmsg"), "/opt/deep/kmsg", "r")}, showNodes("/opt/deep/kmsg"), "/opt/deep/kmsg " + kmsg},
		{"to be read", []option{device(at("snd/by/loop"), "/dev/k", "r")}, tryDevice("/dev/k"), "r\n"},
		{"to be written", []option{device(at("snd/by/loop"), "/dev/k", "wm")}, tryDevice("/dev/k"), "w\n"},
		{"for both", []option{device(at("snd/by/loop"), "/dev/k", "mrw")}, tryDevice("/dev/k"), "rw\n"},
		{"twice the same", []option{device(at("snd"), "/dev/snd", "rw"), device(at("snd/by/loop"), "/dev/snd/by/loop", "wr")}, tryDevice("/dev/snd/by/loop"), "rw\n"},
		{"two names", []option{device(at("snd/by/loop"), "/dev/a", "r"), device(at("snd/by/loop"), "/dev/b", "r")}, tryDevice("/dev/a") + ";" + tryDevice("/dev/b"), "r\nr\n"},
		{"one that all have", []option{device("/dev/null", "/dev/null", "rwm")}, tryDevice("/dev/null"), "rw\n"},
	}
	for _, options := range [][]podOption{nil, {inUserNS}} {
		p := d.runPod(t, options...)
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s %d", tt.name, len(options)), func(t *testing.T) {
				if s, out := p.output(append(tt.devices, script(tt.script))...); out != tt.want {
					t.Errorf("got %q, want %q (%s)", out, tt.want, s.Message)
				}
			})
		}
	}
}

func TestBadDevices(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	dir := deviceTree(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	p := d.runPod(t)
	for _, tt := range []struct {
		name    string
		devices []option
		words   []string
	}{
		{"not there", []option{device(at("none"), "/dev/x", "r")}, []string{"devices[0].host_path", at("none")}},
		{"a file", []option{device(at("snd/kmsg"), "/dev/x", "r"), device(at("snd/file"), "/dev/y", "r")}, []string{"devices[1].host_path", at("snd/file"), "not a device"}},
		{"an empty directory", []option{device(at("empty"), "/dev/x", "r")}, []string{"devices[0].host_path", "no devices"}},
		{"two at one place", []option{device(at("snd/kmsg"), "/dev/x", "r"), device(at("snd/by/loop"), "/dev/./x", "r")}, []string{"devices[1].container_path", "/dev/x", "c 1:11", "b 7:0"}},
		{"two permissions", []option{device(at("snd/kmsg"), "/dev/x", "r"), device(at("link"), "/dev/y", "rw")}, []string{"devices[1].permissions", "c 1:11"}},
		{"instead of one that all have", []option{device(at("snd/kmsg"), "/dev/null", "r")}, []string{"devices[0].container_path", "/dev/null"}},
		{"no permissions", []option{device(at("snd/kmsg"), "/dev/x", "")}, []string{"devices[0].permissions"}},
		{"unknown permissions", []option{device(at("snd/kmsg"), "/dev/x", "rwx")}, []string{"devices[0].permissions", "rwx"}},
		{"relative", []option{device("snd", "/dev/x", "r")}, []string{"devices[0].host_path"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			_, err := p.tryCreate(p.containerConfig(append(tt.devices, sleeper)...))
			refused(t, err, codes.InvalidArgument, tt.words...)
		})
	}
}

// TestPrivilegedDevices: all of the host's, and those that were asked for at their places.
func TestPrivilegedDevices(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	dir := deviceTree(t)
	privileged := func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }
	for _, options := range [][]podOption{{privileged}, {privileged, inUserNS}} {
		p := d.runPod(t, options...)
		c := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }),
			device(filepath.Join(dir, "snd/by/loop"), "/dev/kmsg", "r"), device(filepath.Join(dir, "link"), "/dev/extra", "r"))
		if got, want := c.exec(showNodes("/dev/kmsg", "/dev/extra")), "/dev/kmsg block special file 600 0:0 7:0\n/dev/extra character special file 640 0:44 1:b\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		entries, err := os.ReadDir("/dev")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type()&os.ModeDevice != 0 && e.Name() != "console" {
				c.exec("test -e /dev/" + e.Name())
			}
		}
		if got := c.exec(tryDevice("/dev/kmsg")); got != "rw\n" { // all devices may be used
			t.Errorf("a device asked for to be read can be opened for %q", got)
		}
	}
}

// TestDeviceOwnership: with the option, devices are those of the user that the request names.
func TestDeviceOwnership(t *testing.T) {
	d := ownDaemon(t, options{config: "container.device_ownership_from_security_context = true"})
	d.pull(t, busybox)
	dir := deviceTree(t)
	asUser := secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.RunAsUser, s.RunAsGroup = &runtime.Int64Value{Value: 1234}, &runtime.Int64Value{Value: 4321}
	})
	for _, options := range [][]podOption{nil, {inUserNS}} {
		p := d.runPod(t, options...)
		give := device(filepath.Join(dir, "snd/by/loop"), "/dev/k", "r")
		if _, out := p.output(asUser, give, script("stat -c %u:%g /dev/k;"+tryDevice("/dev/k"))); out != "1234:4321\nr\n" {
			t.Errorf("with a user: %q", out)
		}
		if _, out := p.output(give, script("stat -c %u:%g /dev/k")); out != "0:0\n" {
			t.Errorf("without a user: %q", out)
		}
	}
	p := suite.shared.runPod(t)
	if _, out := p.output(asUser, device(filepath.Join(dir, "snd/by/loop"), "/dev/k", "r"), script("stat -c %u:%g /dev/k;"+tryDevice("/dev/k"))); out != "0:0\n\n" {
		t.Errorf("without the option: %q", out)
	}
}

// TestHostDev gives containers a /dev of the host's in the place of their own, as storage drivers ask for: nothing is added
// to it, and what has to be the container's own below it is.
func TestHostDev(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	dev := t.TempDir()
	hostNode(t, filepath.Join(dev, "null"), unix.S_IFCHR|0o666, 1, 3)
	hostNode(t, filepath.Join(dev, "tty"), unix.S_IFCHR|0o666, 5, 0)
	hostNode(t, filepath.Join(dev, "console"), unix.S_IFCHR|0o600, 5, 1)
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const want = "console\nmqueue\nnull\npts\nshm\ntty\n"
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := d.runPod(t, options...)
			for tty, terminals := range map[bool]string{false: "ptmx\n", true: "0\nptmx\n"} {
				c := p.start(sleeper, volume(&runtime.Mount{HostPath: dev, ContainerPath: "/dev/"}), func(c *runtime.ContainerConfig) { c.Tty = tty },
					paths([]string{"/proc/timer_list", "/etc/group"}, nil))
				c.shows(map[string]string{
					"ls /dev": want, "ls /dev/pts": terminals, "wc -c < /proc/timer_list": "0\n", "wc -c < /etc/group": "0\n", "touch /dev/shm/x": "",
				})
				s := c.session(asked{tty: true}, "tty")
				if code := s.finish(); code != 0 || !strings.HasPrefix(s.stdout.String(), "/dev/pts/") {
					t.Errorf("a command's terminal is %q, exit code %d", s.stdout.String(), code)
				}
			}
		})
	}
	var left strings.Builder
	for _, e := range mustReadDir(t, dev) {
		left.WriteString(e.Name() + "\n")
	}
	if left.String() != want {
		t.Errorf("the host's directory has %q, want %q", left.String(), want)
	}
}
