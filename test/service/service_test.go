package service

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

var install = flag.Bool("install", false, "install the runtime on this machine as a service of systemd")

const (
	unit    = "tare.service"
	socket  = "unix:///run/tare/tare.sock"
	busybox = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
	slice   = "kubepods-burstable-pod42.slice"
	// quick has the watchdog notice soon, though on an emulated processor.
	quick = "[Service]\nWatchdogSec=15\n"
)

// TestService takes one container through all that may become of its runtime.
func TestService(t *testing.T) {
	if !*install {
		t.Skip("not asked to install anything (-args -install)")
	}
	setUp(t)
	withoutPrivileges(t)
	systemctl(t, "start", unit)
	n := connect(t)
	n.cgroupDriver()
	openTo(t)
	n.run()
	keeper := n.keeper()
	for _, step := range []struct {
		name    string
		do      func()
		sameOne bool // the daemon's process stays
	}{
		{"restart", func() { systemctl(t, "restart", unit) }, false},
		{"reload", n.reload, true},
		{"reload of what is not in order", n.badReload, true},
		{"stop and start", func() { systemctl(t, "stop", unit); systemctl(t, "start", unit) }, false},
		{"daemon-reexec", func() { systemctl(t, "daemon-reexec") }, true},
		{"crash", func() { n.signal(syscall.SIGKILL) }, false},
		{"hang", func() { n.signal(syscall.SIGSTOP) }, false},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			n.t = t
			before := n.mainPID()
			step.do()
			until(t, "the service is active", func() bool {
				return property(t, unit, "ActiveState") == "active" && (step.sameOne || n.mainPID() != before)
			})
			n.check(t)
			if step.sameOne != (n.mainPID() == before) {
				t.Errorf("the daemon was process %d and is %d", before, n.mainPID())
			}
			if now := n.keeper(); now != keeper {
				t.Errorf("the keeper was process %d and is %d", keeper, now)
			}
		}) {
			t.Log(output(t, "journalctl", "-q", "-o", "cat", "-u", unit, "-n", "40"))
			return
		}
	}
	n.t = t
	systemctl(t, "stop", unit)
	output(t, "/usr/local/bin/tare", "stop", "--all")
	if unit := n.podUnit(); property(t, unit, "LoadState") != "not-found" {
		t.Errorf("%s is still there", unit)
	}
	if left := property(t, unit, "ControlGroup"); left != "" {
		t.Errorf("processes are left in %s", left)
	}
}

// setUp installs what make install has installed into a directory, with the service's watchdog set, and serves images.
func setUp(t *testing.T) {
	output(t, "cp", "-a", "../../installed/.", "/")
	write(t, "/etc/systemd/system/"+unit+".d/test.conf", quick)
	serveImages(t)
	systemctl(t, "daemon-reload")
}

// serveImages has the runtime that is installed find images.
func serveImages(t *testing.T) {
	certs := t.TempDir()
	write(t, "/etc/tare/config.d/test.toml", "registry.config_path = \""+certs+"\"\n")
	catalog, err := registry.Build()
	if err != nil {
		t.Fatal(err)
	}
	server, err := registry.Serve(catalog, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := registry.WriteCertsDir(certs, server.Addr(), registry.Hosts...); err != nil {
		t.Fatal(err)
	}
}

// withoutPrivileges has the service fail as one that may not do what it has to, and say so.
func withoutPrivileges(t *testing.T) {
	dropIn := "/etc/systemd/system/" + unit + ".d/less.conf"
	write(t, dropIn, "[Service]\nCapabilityBoundingSet=~CAP_SYS_ADMIN CAP_NET_ADMIN\n")
	systemctl(t, "daemon-reload")
	if err := exec.Command("systemctl", "start", unit).Run(); err == nil {
		t.Error("it starts without privileges")
	}
	systemctl(t, "stop", unit)
	if said := output(t, "journalctl", "-q", "-o", "cat", "-u", unit); !strings.Contains(said, "it lacks CAP_NET_ADMIN, CAP_SYS_ADMIN") {
		t.Errorf("it says %s", said)
	}
	output(t, "rm", dropIn)
	systemctl(t, "daemon-reload")
}

// node is the runtime as its clients see it, and the container that runs there.
type node struct {
	t       *testing.T
	runtime runtime.RuntimeServiceClient
	images  runtime.ImageServiceClient
	pod, id string
	pid     int
}

func connect(t *testing.T) *node {
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &node{t: t, runtime: runtime.NewRuntimeServiceClient(conn), images: runtime.NewImageServiceClient(conn)}
}

// cgroupDriver makes the first call, which a service that has started answers.
func (n *node) cgroupDriver() {
	r, err := n.runtime.RuntimeConfig(deadline(n.t), &runtime.RuntimeConfigRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	if d := r.Linux.GetCgroupDriver(); d != runtime.CgroupDriver_SYSTEMD {
		n.t.Errorf("cgroup driver %s", d)
	}
}

// run starts the container.
func (n *node) run() {
	n.t.Helper()
	must := func(err error) {
		n.t.Helper()
		if err != nil {
			n.t.Fatal(err)
		}
	}
	config := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: "p", Uid: "42", Namespace: "default"},
		Linux:    &runtime.LinuxPodSandboxConfig{CgroupParent: slice},
	}
	spec := &runtime.ImageSpec{Image: busybox}
	_, err := n.images.PullImage(deadline(n.t), &runtime.PullImageRequest{Image: spec})
	must(err)
	p, err := n.runtime.RunPodSandbox(deadline(n.t), &runtime.RunPodSandboxRequest{Config: config})
	must(err)
	c, err := n.runtime.CreateContainer(deadline(n.t), &runtime.CreateContainerRequest{
		PodSandboxId: p.PodSandboxId, SandboxConfig: config,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "c"}, Image: spec, Command: []string{"sleep", "1000000"},
		},
	})
	must(err)
	_, err = n.runtime.StartContainer(deadline(n.t), &runtime.StartContainerRequest{ContainerId: c.ContainerId})
	must(err)
	n.pod, n.id = p.PodSandboxId, c.ContainerId
	n.pid = n.onlyProcess()
}

func (n *node) podUnit() string { return "tare-" + n.pod + ".service" }

// onlyProcess is the container's process, found where systemd says that the pod's unit is.
func (n *node) onlyProcess() int {
	n.t.Helper()
	procs := read(n.t, filepath.Join("/sys/fs/cgroup", property(n.t, n.podUnit(), "ControlGroup"), n.id, "cgroup.procs"))
	pid, err := strconv.Atoi(strings.TrimSpace(procs))
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// check asserts that the container is what it was, where it was, and at the runtime's hand.
func (n *node) check(t *testing.T) {
	t.Helper()
	if pid := n.onlyProcess(); pid != n.pid {
		t.Errorf("the container was process %d and is %d", n.pid, pid)
	}
	s, err := n.runtime.ContainerStatus(deadline(t), &runtime.ContainerStatusRequest{ContainerId: n.id}, grpc.WaitForReady(true))
	if err != nil || s.Status.State != runtime.ContainerState_CONTAINER_RUNNING {
		t.Errorf("status: %v, %v", s, err)
	}
	r, err := n.runtime.ExecSync(deadline(t), &runtime.ExecSyncRequest{ContainerId: n.id, Cmd: []string{"echo", "here"}})
	if err != nil || string(r.Stdout) != "here\n" {
		t.Errorf("exec: %v, %v", r, err)
	}
}

// openTo fails the test unless the socket is open to root and its group, and a stranger is refused.
func openTo(t *testing.T) {
	t.Helper()
	path := strings.TrimPrefix(socket, "unix://")
	if st, err := os.Stat(path); err != nil || st.Mode() != os.ModeSocket|0o660 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	stranger := exec.Command("/usr/local/bin/tare", "ps", "--state", "/run/tare")
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("a stranger is told %s, %v", out, err)
	}
}

// keeper finds the keeper, and that it is in the service's cgroup, and not in a pod's.
func (n *node) keeper() int {
	n.t.Helper()
	at := "/system.slice/" + unit
	for _, text := range strings.Fields(read(n.t, "/sys/fs/cgroup"+at+"/cgroup.procs")) {
		if args := read(n.t, "/proc/"+text+"/cmdline"); strings.HasPrefix(args, "keeper\x00") {
			pid, _ := strconv.Atoi(text)
			return pid
		}
	}
	n.t.Fatal("no keeper in ", at)
	return 0
}

func (n *node) mainPID() int {
	pid, err := strconv.Atoi(property(n.t, unit, "MainPID"))
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

func (n *node) signal(sig syscall.Signal) {
	if err := syscall.Kill(n.mainPID(), sig); err != nil {
		n.t.Fatal(err)
	}
}

const config = "/etc/tare/config.d/test.toml"

// reload adds to the configuration what a verbose status shows.
func (n *node) reload() {
	write(n.t, config, read(n.t, config)+"images.pinned = [\"pinned.example/image\"]\n")
	systemctl(n.t, "reload", unit)
	until(n.t, "the new configuration is in force", func() bool {
		s, err := n.runtime.Status(deadline(n.t), &runtime.StatusRequest{Verbose: true}, grpc.WaitForReady(true))
		return err == nil && strings.Contains(s.Info["config"], "pinned.example")
	})
}

// badReload leaves what is in force alone, and says why.
func (n *node) badReload() {
	good := read(n.t, config)
	write(n.t, config, good+"no.such.setting = 1\n")
	systemctl(n.t, "reload", unit)
	until(n.t, "the status says what is wrong", func() bool {
		return strings.Contains(property(n.t, unit, "StatusText"), "reload failed")
	})
	write(n.t, config, good)
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal("not within 90s: ", what)
}

func property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(output(t, "systemctl", "show", unit, "-P", name))
}

func systemctl(t *testing.T, args ...string) { t.Helper(); output(t, "systemctl", args...) }

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, args, err, errs.Bytes())
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
