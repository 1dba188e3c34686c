package pod

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Users of the user namespaces: container ids 0 to 65535 are the host's from hostIDs on.
const (
	hostIDs = 400000
	manyIDs = 65536
)

func mapping() []*runtime.IDMapping {
	return []*runtime.IDMapping{{ContainerId: 0, HostId: hostIDs, Length: manyIDs}}
}

func inUserNS(c *runtime.PodSandboxConfig) {
	c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{
		Mode: runtime.NamespaceMode_POD, Uids: mapping(), Gids: mapping(),
	}
}

// owned makes a file that belongs to a user and group of the host.
func owned(t *testing.T, path string, uid, gid int) {
	t.Helper()
	writeFile(t, path, "")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

func TestUserNamespaceOwners(t *testing.T) {
	d := suite.shared
	d.pull(t, layers)
	leavesNothing(t, d)
	before := owners(t, d.path("root/images"))
	mapped, plain := t.TempDir(), t.TempDir()
	for _, dir := range []string{mapped, plain} {
		owned(t, filepath.Join(dir, "root"), 0, 0)
		owned(t, filepath.Join(dir, "user"), 1234, 4321)
		owned(t, filepath.Join(dir, "pod-root"), hostIDs, hostIDs)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	p := d.runPod(t, inUserNS)
	c := p.start(sleeper, image(layers),
		volume(&runtime.Mount{HostPath: mapped, ContainerPath: "/mapped", UidMappings: mapping(), GidMappings: mapping()}),
		volume(&runtime.Mount{HostPath: plain, ContainerPath: "/plain"}))

	for path, want := range map[string]string{
		"/bin/busybox": "0:0", "/meta/owned": "1234:4321", "/": "0:0", "/etc": "0:0",
		"/etc/hosts": "0:0", "/etc/resolv.conf": "0:0", "/etc/hostname": "0:0", "/dev/shm": "0:0", "/dev": "0:0", "/proc/1": "0:0",
		// KEP-127: on a volume with mappings, ids on disk are the container's.
		"/mapped/root": "0:0", "/mapped/user": "1234:4321", "/mapped/pod-root": "65534:65534",
		// Without, they are the host's, most of which the container has no names for.
		"/plain/root": "65534:65534", "/plain/pod-root": "0:0",
	} {
		if got := strings.TrimSpace(c.exec("stat -c %u:%g " + path)); got != want {
			t.Errorf("owner of %s is %s in the container, want %s", path, got, want)
		}
	}
	c.exec("for d in mapped plain dev/shm etc; do touch /$d/mine && chown 7:8 /$d/mine || exit 1; done; echo x >> /etc/passwd")
	for path, want := range map[string]string{
		filepath.Join(mapped, "mine"):                           "7:8",
		filepath.Join(plain, "mine"):                            fmt.Sprintf("%d:%d", hostIDs+7, hostIDs+8),
		d.path("root/containers/" + c.id + "/upper/etc/mine"):   fmt.Sprintf("%d:%d", hostIDs+7, hostIDs+8),
		d.path("root/containers/" + c.id + "/upper/etc/passwd"): fmt.Sprintf("%d:%d", hostIDs, hostIDs),
	} {
		if got := owner(t, path); got != want {
			t.Errorf("owner of %s is %s on the host, want %s", path, got, want)
		}
	}
	if after := owners(t, d.path("root/images")); !maps.Equal(before, after) {
		t.Error("owners of files in the image store have changed")
	}
}

// owners maps every path below root to its owner.
func owners(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "/snapshots/") {
			out[path] = owner(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("%d files of layers below %s: the test looks at the wrong place", len(out), root)
	}
	return out
}

func TestUserNamespaceShared(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inUserNS)
	a := p.start(sleeper)
	b := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.RunAsUser, s.RunAsGroup = &runtime.Int64Value{Value: 1000}, &runtime.Int64Value{Value: 1001}
	}))
	compare(t, "two containers", namespaces(t, a.pid()), namespaces(t, b.pid()), append(podKinds, "user")...)
	compare(t, "container and host", namespaces(t, a.pid()), namespaces(t, os.Getpid()))
	want := fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", hostIDs+1000)
	if got := procStatus(b.pid())["Uid"]; got != want {
		t.Errorf("user of the process on the host is %q, want %q", got, want)
	}
	if got := strings.Fields(a.exec("cat /proc/self/uid_map")); strings.Join(got, " ") != fmt.Sprintf("0 %d %d", hostIDs, manyIDs) {
		t.Errorf("uid_map is %v", got)
	}
	if got := b.exec("id -u; id -g; touch /dev/shm/b && stat -c %u:%g /dev/shm/b"); got != "1000\n1001\n1000:1001\n" {
		t.Errorf("exec as the container's user: %q", got)
	}
	if got := a.exec("stat -c %u:%g /dev/shm/b"); got != "1000:1001\n" {
		t.Errorf("the neighbour sees it as %q", got)
	}
}

// TestUserNamespaceModes runs the other kinds of containers in a user namespace.
func TestUserNamespaceModes(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inUserNS, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD }))
	a, b := p.start(sleeper), p.start(sleeper)
	compare(t, "two containers", namespaces(t, a.pid()), namespaces(t, b.pid()), append(podKinds, "user", "pid")...)
	_, out := p.output(script("id -u; tty"), func(c *runtime.ContainerConfig) { c.Tty = true })
	if want := "0\n/dev/pts/0\n"; out != want {
		t.Errorf("container with a terminal says %q, want %q", out, want)
	}
	s, out := p.output(script("touch /x; echo $?"), secured(func(s *runtime.LinuxContainerSecurityContext) { s.ReadonlyRootfs = true }))
	if out != "1\n" || s.ExitCode != 0 {
		t.Errorf("container with a read-only root: %q, %d", out, s.ExitCode)
	}
}

// TestUserNamespaceOnHosts runs pods with a user namespace that share another with the host.
func TestUserNamespaceOnHosts(t *testing.T) {
	for kind, change := range map[string]func(*runtime.NamespaceOption){
		"net": func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE },
		"ipc": func(n *runtime.NamespaceOption) { n.Ipc = runtime.NamespaceMode_NODE },
		"pid": func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_NODE },
	} {
		t.Run(kind, func(t *testing.T) {
			leavesNothing(t, suite.shared)
			c := suite.shared.runPod(t, inUserNS, unnamed, podNamespaces(change)).start(sleeper)
			if own, host := namespaces(t, c.pid()), namespaces(t, os.Getpid()); own[kind] != host[kind] || own["user"] == host["user"] {
				t.Errorf("namespaces %v, the host's are %v", own, host)
			}
			c.exec("test -d /proc/self -a -d /sys/class/net/lo -a -d /dev/mqueue")
			if got := c.exec("touch /sys/x /proc/sys/x 2>&1; id -u"); !strings.HasSuffix(got, "\n0\n") {
				t.Errorf("exec says %q", got)
			}
		})
	}
}
