package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// isolated is the runtime handler that gives each container a user namespace inside its pod's.
const isolated = "isolated"

// powerful gives a container what a root needs to do harm.
var powerful = secured(func(s *runtime.LinuxContainerSecurityContext) {
	s.Capabilities = &runtime.Capability{AddCapabilities: []string{"NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "IPC_OWNER"}}
})

func asUser(uid int64) option {
	return secured(func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = &runtime.Int64Value{Value: uid} })
}

var onePIDs = podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })

// TestIsolatedPower has a container's root, with capabilities, do to its pod and to a neighbour what it can
// in a pod with a user namespace. Isolated it cannot, except to what is the same user's.
func TestIsolatedPower(t *testing.T) {
	for _, tt := range []struct {
		handler string
		allowed bool
	}{{"", true}, {isolated, false}} {
		t.Run("handler "+tt.handler, func(t *testing.T) {
			leavesNothing(t, suite.shared)
			p := suite.shared.runPodBy(t, tt.handler, inUserNS, onePIDs)
			// What namespaces allow, not what AppArmor's default profile does.
			free := apparmor(runtime.SecurityProfile_Unconfined, "")
			root := p.start(sleeper, powerful, free)
			user, twin := p.start(sleeper, asUser(1000), free), p.start(sleeper, free)
			pidOf := func(c *ctr) string { return strings.TrimSpace(lastField(procStatus(c.pid())["NSpid"])) }
			for what, command := range map[string]string{
				"set a link of the pod's network down":   "ip link set lo down && ip link set lo up",
				"change the pod's hostname":              "hostname other && hostname pod",
				"signal another user's process":          "kill -0 " + pidOf(user),
				"read the memory of a neighbour":         ": < /proc/" + pidOf(twin) + "/mem",
				"look into the root of a neighbour":      "ls /proc/" + pidOf(twin) + "/root/",
				"read the environment of a neighbour":    "cat /proc/" + pidOf(twin) + "/environ",
				"use power over the network namespace":   "nsenter --net=/proc/self/ns/net true",
				"use power over the IPC namespace":       "nsenter --ipc=/proc/self/ns/ipc true",
				"enter a neighbour's mount namespace":    "nsenter -t " + pidOf(twin) + " -m true",
				"signal the process that holds the pids": "kill -0 1",
			} {
				resp, err := root.tryExec(0, "sh", "-c", command)
				if err != nil {
					t.Fatal(err)
				}
				if did := resp.ExitCode == 0; did != tt.allowed {
					t.Errorf("%s: %v, want %v: %s", what, did, tt.allowed, resp.Stderr)
				} else if refused := strings.ToLower(string(resp.Stderr)); !did && !strings.Contains(refused, "not permitted") && !strings.Contains(refused, "denied") {
					t.Errorf("%s fails for another reason: %s", what, refused)
				}
			}
			root.exec("mkdir /m && mount -t tmpfs none /m && touch /m/x && umount /m")
			root.exec("kill -TERM " + pidOf(twin)) // the same user's: kill(2)
			twin.finish()
		})
	}
}

func lastField(s string) string {
	fields := strings.Fields(s)
	return fields[len(fields)-1]
}

// TestIsolatedNamespaces looks at where the namespaces of isolated containers are.
func TestIsolatedNamespaces(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPodBy(t, isolated, inUserNS)
	a, b := p.start(sleeper), p.start(sleeper, asUser(1000))
	compare(t, "two containers", namespaces(t, a.pid()), namespaces(t, b.pid()), podKinds...)
	of := p.recordedUserNS()
	for _, c := range []*ctr{a, b} {
		own, parent := userNS(t, c.pid())
		if parent != of || own == of {
			t.Errorf("user namespace %d in %d, want one inside the pod's, %d", own, parent, of)
		}
		if got, want := strings.TrimSpace(c.exec("readlink /proc/self/ns/user")), namespaces(t, c.pid())["user"]; got != want {
			t.Errorf("an exec is in %s, want the container's, %s", got, want)
		}
		if got := strings.Fields(c.exec("cat /proc/self/uid_map /proc/self/gid_map")); strings.Join(got, " ") != fmt.Sprintf("0 0 %d 0 0 %[1]d", manyIDs) {
			t.Errorf("id maps are %v", got)
		}
	}
	want := fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", hostIDs+1000)
	if got := procStatus(b.pid())["Uid"]; got != want {
		t.Errorf("user of the process on the host is %q, want %q", got, want)
	}
	ps, err := run(suite.bin+"/tare", "ps", "--state", p.path("state"))
	if own, _ := userNS(t, a.pid()); err != nil || !strings.Contains(ps, fmt.Sprint(own)) {
		t.Errorf("tare ps does not show user namespace %d: %v\n%s", own, err, ps)
	}
}

// recordedUserNS is the inode of the pod's user namespace, as its verbose status has it.
func (p *pod) recordedUserNS() uint64 {
	p.t.Helper()
	resp, err := p.runtime.PodSandboxStatus(deadline(p.t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		p.t.Fatal(err)
	}
	var info struct{ Namespaces map[string]uint64 }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil || info.Namespaces["user"] == 0 {
		p.t.Fatalf("no user namespace in the verbose status: %v\n%s", err, resp.Info["info"])
	}
	return info.Namespaces["user"]
}

// userNS is the inode of a process's user namespace, and of that one's parent (NS_GET_PARENT, ioctl_nsfs(2)).
func userNS(t *testing.T, pid int) (own, parent uint64) {
	t.Helper()
	f, err := os.Open(procPath(pid, "ns/user"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st [2]unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st[0]); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(fd, &st[1]); err != nil {
		t.Fatal(err)
	}
	return st[0].Ino, st[1].Ino
}

// TestIsolatedModes runs every kind of container isolated.
func TestIsolatedModes(t *testing.T) {
	d := suite.shared
	d.pull(t, layers)
	nested := func(t *testing.T, c *ctr) {
		t.Helper()
		if _, parent := userNS(t, c.pid()); parent != c.pod.recordedUserNS() {
			t.Errorf("the user namespace is inside %d, not the pod's", parent)
		}
		if got := c.exec("id -u; test -d /sys/class/net/lo && test -d /dev/mqueue && cat /proc/self/comm"); got != "0\ncat\n" {
			t.Errorf("exec says %q", got)
		}
	}
	for name, options := range map[string][]podOption{
		"own pids":           {},
		"shared pids":        {onePIDs},
		"the host's pids":    {podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_NODE })},
		"the host's network": {podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE }), unnamed},
		"the host's IPC":     {podNamespaces(func(n *runtime.NamespaceOption) { n.Ipc = runtime.NamespaceMode_NODE })},
		"a time namespace": {func(c *runtime.PodSandboxConfig) {
			c.Annotations = map[string]string{"tare/boottime-offset": "1000000s"}
		}},
		"an unmasked, shared one": {onePIDs, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, d)
			p := d.runPodBy(t, isolated, append(options, inUserNS)...)
			nested(t, p.start(sleeper))
			nested(t, p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
				s.ReadonlyRootfs, s.NoNewPrivs = true, true
				s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
			})))
			_, out := p.output(script("id -u; tty; stty size < /dev/console"), func(c *runtime.ContainerConfig) { c.Tty = true })
			if !strings.HasPrefix(out, "0\n/dev/pts/0\n") {
				t.Errorf("container with a terminal says %q", out)
			}
			if name == "a time namespace" {
				if got := p.start(sleeper).exec("cut -d. -f1 /proc/uptime"); len(strings.TrimSpace(got)) < 7 {
					t.Errorf("uptime %q is the host's", got)
				}
			}
		})
	}
	t.Run("target", func(t *testing.T) {
		leavesNothing(t, d)
		p := d.runPodBy(t, isolated, inUserNS)
		a := p.start(sleeper)
		debug := p.start(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Pid, s.NamespaceOptions.TargetId = runtime.NamespaceMode_TARGET, a.id
		}))
		compare(t, "container and target", namespaces(t, debug.pid()), namespaces(t, a.pid()), append(podKinds, "pid")...)
		nested(t, debug)
	})
	t.Run("volumes", func(t *testing.T) {
		leavesNothing(t, d)
		dir := t.TempDir()
		owned(t, dir+"/user", 1234, 4321)
		p := d.runPodBy(t, isolated, inUserNS)
		c := p.start(sleeper,
			volume(&runtime.Mount{HostPath: dir, ContainerPath: "/mapped", UidMappings: mapping(), GidMappings: mapping()}),
			volume(&runtime.Mount{Image: &runtime.ImageSpec{Image: layers}, ContainerPath: "/image", Readonly: true}))
		nested(t, c)
		if got := c.exec("stat -c %u:%g /mapped/user /image/meta/owned /bin/busybox"); got != "1234:4321\n1234:4321\n0:0\n" {
			t.Errorf("owners are %q", got)
		}
		c.exec("chown 7:8 /etc/passwd && touch /etc/mine /dev/shm/mine")
	})
}

func unnamed(c *runtime.PodSandboxConfig) { c.Hostname = "" }

// TestIsolatedRestart kills the daemon between create and start.
func TestIsolatedRestart(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	p := d.runPodBy(t, isolated, inUserNS)
	running, created := p.start(sleeper), p.create(sleeper)
	d.signal(syscall.SIGKILL)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if err := created.tryStart(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*ctr{running, created} {
		if own, parent := userNS(t, c.pid()); parent != p.recordedUserNS() {
			t.Errorf("user namespace %d is in %d, not in the pod's", own, parent)
		}
		c.exec("true")
	}
	stats, err := p.runtime.ContainerStats(deadline(t), &runtime.ContainerStatsRequest{ContainerId: created.id})
	if err != nil || stats.Stats.GetMemory().GetUsageBytes().GetValue() == 0 {
		t.Errorf("stats %v, %v", stats, err)
	}
}

// TestIsolatedNeedsUserNamespace asks for an isolated pod without a user namespace.
func TestIsolatedNeedsUserNamespace(t *testing.T) {
	leavesNothing(t, suite.shared)
	for name, change := range map[string]podOption{
		"none": func(*runtime.PodSandboxConfig) {},
		"the host's": podNamespaces(func(n *runtime.NamespaceOption) {
			n.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE}
		}),
	} {
		_, err := suite.shared.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: podConfig("pod", change), RuntimeHandler: isolated})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "linux.security_context.namespace_options.userns_options: mode NODE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
