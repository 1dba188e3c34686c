package cni

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/spec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside marks the test process that runs in namespaces of its own.
const inside = "TARE_TEST_HOST"

// init keeps the main thread to the main goroutine: a locked goroutine that ends on it would
// not end the thread but wedge it, in whatever namespace it is in (runtime/proc.go, mexit).
func init() { runtime.LockOSThread() }

// TestMain runs the tests in a fresh network and mount namespace, which plays the host: nothing
// of the machine's own network is touched, whatever a test leaves behind.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the network tests need root")
		return
	}
	if slices.Contains(os.Args, "-test.fuzzworker") { // a child of one that is inside
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		if err := becomeHost(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare host namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "enter host namespace:", err)
		os.Exit(1)
	}
}

// becomeHost gives the namespaces what a host has: sysfs of this network namespace, a /run of
// its own, loopback, and an uplink whose other end goes nowhere.
func becomeHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.Mkdir("/run/netns", 0o755); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "uplink", 1400
	uplink := &netlink.Veth{LinkAttrs: attrs, PeerName: "nowhere"}
	if err := netlink.LinkAdd(uplink); err != nil {
		return err
	}
	for _, cidr := range []string{"10.123.255.1/24", "fd00:123:ffff::1/64"} {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(uplink, a); err != nil {
			return err
		}
	}
	for _, name := range []string{"uplink", "nowhere"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: net.ParseIP("10.123.255.254")})
}

// hostState is everything that a test must leave as it found it.
type hostState struct {
	links, tables, netns, sysctls, namespaces string

	files int // open ones, but for the runtime's own
}

func readHost(t testing.TB) hostState {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	tables, err := exec.Command("nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, tables)
	}
	var netns []string
	entries, _ := os.ReadDir("/run/netns")
	for _, e := range entries {
		netns = append(netns, e.Name())
	}
	var sysctls []string
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/uplink/accept_ra"} {
		b, err := os.ReadFile("/proc/sys/net/" + s)
		if err != nil {
			t.Fatal(err)
		}
		sysctls = append(sysctls, s+"="+strings.TrimSpace(string(b)))
	}
	return hostState{
		links: strings.Join(names, " "), tables: string(tables), netns: strings.Join(netns, " "),
		sysctls: strings.Join(sysctls, " "), namespaces: threadNamespaces(t),
		files: openFiles(t),
	}
}

// threadNamespaces lists the network namespaces that threads of this process are in: more
// than one means that a thread lost its way.
func threadNamespaces(t testing.TB) string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, f := range tasks {
		if ns, err := os.Readlink(f); err == nil && !slices.Contains(seen, ns) {
			seen = append(seen, ns)
		}
	}
	return strings.Join(seen, " ")
}

// openFiles counts without epoll and the like, which the runtime opens when it first needs them.
func openFiles(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") {
			n++
		}
	}
	return n
}

// leavesNothing fails the test if at its end the host is not as it is now. Call it first: the
// last cleanup is the first to be registered.
func leavesNothing(t testing.TB) {
	t.Helper()
	before := readHost(t)
	t.Cleanup(func() {
		var after hostState
		// A namespace's links are removed by a kernel worker (cleanup_net), threads by exit.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if after = readHost(t); after == before || time.Now().After(deadline) {
				break
			}
		}
		if after != before {
			t.Errorf("left behind on the host:\n%+v\nbefore:\n%+v", after, before)
		}
	})
}

// setSysctl gives the host a value until the end of the test: what it starts with is the
// machine's. Call it before leavesNothing.
func setSysctl(t testing.TB, name, value string) {
	t.Helper()
	file := "/proc/sys/net/" + name
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := func(v []byte) {
		if err := os.WriteFile(file, v, 0); err != nil {
			t.Fatal(err)
		}
	}
	set([]byte(value))
	t.Cleanup(func() { set(old) })
}

// newNetNS makes a network namespace like the pods', bound below /run/netns.
func newNetNS(t testing.TB, name string) string {
	t.Helper()
	path := "/run/netns/" + name
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { // ends with its thread, which is not given back
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeNetNS(t, path) })
	return path
}

// removeNetNS is idempotent.
func removeNetNS(t testing.TB, path string) {
	t.Helper()
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	os.Remove(path)
}

// within runs f on a thread in the namespace; sockets that f opens stay in it.
func within(t testing.TB, netns string, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() { // ends with its thread, which is not given back
		runtime.LockOSThread()
		ns, err := os.Open(netns)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func options(t testing.TB) Options {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "net.d")
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	return Options{
		ConfDir: conf,
		BinDirs: []string{filepath.Join(dir, "bin"), "/usr/lib/cni"},
		DataDir: filepath.Join(dir, "data"),
		BootDir: filepath.Join(dir, "boot"),
		Bridge:  "tct0",
		Subnets: []string{"10.123.1.0/24", "fd00:123:1::/64"},
	}
}

// open opens a Network that is torn down with the test.
func open(t testing.TB, o Options) *Network {
	t.Helper()
	n, err := Open(o, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Teardown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("teardown: %v", err)
		}
		n.Close()
	})
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// newPod makes a pod with a namespace of its own.
func newPod(t testing.TB, name string) Pod {
	t.Helper()
	return Pod{
		ID: spec.NewPodID(), Name: name, UID: "uid-" + name, Namespace: "default",
		NetNS: newNetNS(t, name),
	}
}

func add(t testing.TB, n *Network, p Pod) Result {
	t.Helper()
	r, err := n.Add(t.Context(), p)
	if err != nil {
		t.Fatalf("add: %v", err)
	}
	return r
}

func del(t testing.TB, n *Network, p Pod) {
	t.Helper()
	if err := n.Del(t.Context(), p.ID); err != nil {
		t.Fatalf("del: %v", err)
	}
}
