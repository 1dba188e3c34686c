package pod

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tare/test/enclose"
	"tare/test/leak"
	"tare/test/registry"
)

var (
	binDir = flag.String("bin", "../../bin", "directory of tare and keeper")
	driver = flag.String("driver", "cgroupfs", "cgroup driver of the daemons: cgroupfs or systemd")
	keep   = flag.Bool("keep", false, "keep the suite's directory with the daemons' logs")
	slower = flag.Int("slower", 1, "how many times slower the machine is than one of today, as emulated ones are")
)

// suite is what all tests share; set before the first runs.
var suite struct {
	dir    string // of everything the suite makes
	bin    string // of tare and keeper, absolute
	certs  string // hosts.toml files that lead to the registry
	cgroup string // below which the daemons' cgroups are
	addr   string // of the registry
	shared *daemon
}

// The images most tests use, as the registry serves them.
const (
	busybox = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
	layers  = registry.LocalHost + "/layers:gzip"
)

// runSuite starts registry and shared daemon, runs the tests, stops everything, and fails if
// something is left.
func runSuite(m *testing.M) (code int, err error) {
	before, err := leak.Take()
	if err != nil {
		return 1, err
	}
	if err := prepare(); err != nil {
		return 1, err
	}
	defer func() {
		if !*keep {
			err = errors.Join(err, os.RemoveAll(suite.dir))
		}
	}()
	server, err := serveImages()
	if err != nil {
		return 1, err
	}
	defer server.Close()
	if suite.shared, err = newDaemon("shared", options{}); err != nil {
		return 1, err
	}
	if err := suite.shared.warmUp(); err != nil {
		return 1, errors.Join(err, suite.shared.stopAll())
	}
	code = m.Run()
	if code != 0 || *keep {
		fmt.Fprintln(os.Stderr, "log of the shared daemon, its end:\n"+tail(suite.shared.logFile(), 20))
	}
	if err := suite.shared.stopAll(); err != nil {
		return 1, err
	}
	return code, nothingLeft(before)
}

// prepare finds the binaries and makes the suite's directory.
func prepare() (err error) {
	patience *= time.Duration(*slower)
	callTimeout *= time.Duration(*slower)
	if suite.bin, err = filepath.Abs(*binDir); err != nil {
		return err
	}
	for _, name := range []string{"tare", "keeper"} {
		if _, err := os.Stat(filepath.Join(suite.bin, name)); err != nil {
			return fmt.Errorf("%w: make build first", err)
		}
	}
	// Not in the package's own directory: socket paths end at 107 bytes, unix(7).
	if suite.dir, err = os.MkdirTemp("", "tare-pod-"); err == nil {
		err = os.Chmod(suite.dir, 0o711) // as /run and /var/lib are to all
	}
	suite.certs = filepath.Join(suite.dir, "certs.d")
	suite.cgroup = "/taree2e" + os.Getenv(enclose.OuterVar)
	return err
}

// cgroupParent is one of the suite's, as requests name it.
func cgroupParent(names ...string) string {
	names = append([]string{suite.cgroup}, names...)
	if *driver == "systemd" {
		return strings.Join(names, "-")[1:] + ".slice"
	}
	return strings.Join(names, "/")
}

func serveImages() (*registry.Server, error) {
	catalog, err := registry.Build()
	if err != nil {
		return nil, err
	}
	extra, err := ownImages(catalog)
	if err != nil {
		return nil, err
	}
	catalog.Entries = append(catalog.Entries, extra...)
	server, err := registry.Serve(catalog, registry.Options{})
	if err != nil {
		return nil, err
	}
	suite.addr = server.Addr()
	return server, registry.WriteCertsDir(suite.certs, suite.addr, registry.Hosts...)
}

// nothingLeft compares the host with what it was.
func nothingLeft(before leak.Snapshot) error {
	lines := settle(before, func() (leak.Snapshot, error) { return leak.Take() })
	if len(lines) > 0 {
		return errors.New("left behind by the suite:\n\t" + strings.Join(lines, "\n\t"))
	}
	return nil
}

// settle takes snapshots until one is like before, and returns what differs if none is.
func settle(before leak.Snapshot, take func() (leak.Snapshot, error)) (lines []string) {
	err := until("the host is as it was", func() error {
		after, err := take()
		if err != nil {
			return err
		}
		if lines = slices.DeleteFunc(leak.Diff(before, after), overlooked); len(lines) > 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if err != nil && len(lines) == 0 {
		return []string{err.Error()}
	}
	return lines
}

// overlooked is what differs without anybody's fault: what the suite sees of the rest of the
// machine, a connection to the registry that was idle and is closed, which address was the last, the few
// device filters that a daemon keeps (cgroup v2), and the few buffers that a keeper does.
func overlooked(line string) bool {
	verb, what, _ := strings.Cut(line, ": ")
	return strings.HasPrefix(what, "cgroup ") && !strings.Contains(what+"/", suite.cgroup+"/") && !strings.Contains(what, suite.cgroup+".slice") ||
		strings.HasPrefix(what, "file /var/lib/") || strings.Contains(what, "/leases/tare/cursor-") ||
		verb == "gone" && strings.Contains(what, " fd ") || strings.Contains(what, " daemon fd anon_inode:bpf-prog") ||
		strings.Contains(what, " keeper fd /memfd:container output")
}

// leavesNothing fails t if, when it is over, the host or the files of the daemons are not as they
// are now, or a daemon or keeper has more descriptors open.
func leavesNothing(t *testing.T, daemons ...*daemon) {
	t.Helper()
	for _, d := range daemons {
		await(t, "namespaces are made in advance", d.ahead)
	}
	// Descriptors of a daemon are read one by one: what it is given meanwhile would be seen in part.
	var before leak.Snapshot
	await(t, "nothing changes any more", func() error {
		first, err := takeAll(daemons)
		if err != nil {
			return err
		}
		if before, err = takeAll(daemons); err != nil {
			return err
		}
		if lines := leak.Diff(first, before); len(lines) > 0 {
			return errors.New(strings.Join(lines, "; "))
		}
		return nil
	})
	t.Cleanup(func() {
		for _, line := range settle(before, func() (leak.Snapshot, error) { return takeAll(daemons) }) {
			t.Error(line)
		}
	})
}

// ahead is an error as long as the daemon does not hold the network namespaces of its pods, each bound to a
// file, and two spare ones (sandbox.Spares).
func (d *daemon) ahead() error {
	bound, err := os.ReadDir(d.path("netns")) // made with the first pod
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fds, err := leak.FDs(d.pid())
	if err != nil {
		return err
	}
	held := 0
	for line := range fds {
		if strings.HasPrefix(line, "fd net") {
			held++
		}
	}
	if held < len(bound)+2 {
		return fmt.Errorf("the daemon holds %d network namespaces for %d pods", held, len(bound))
	}
	return nil
}

func takeAll(daemons []*daemon) (leak.Snapshot, error) {
	var dirs []string
	for _, d := range daemons {
		for _, dir := range []string{"state/pods", "root/sandboxes", "state/cni", "root/containers", "root/cni", "netns"} {
			dirs = append(dirs, d.path(dir))
		}
	}
	all, err := leak.Take(dirs...)
	if err != nil {
		return nil, err
	}
	for _, d := range daemons {
		for name, pid := range map[string]int{"daemon": d.pid(), "keeper": d.keeperPID()} {
			maps.DeleteFunc(all, func(line string, _ bool) bool { return strings.HasPrefix(line, fmt.Sprintf("process %d ", pid)) })
			fds, err := leak.FDs(pid)
			if err != nil {
				return nil, err
			}
			for line := range fds {
				all[d.name+" "+name+" "+line] = true
			}
		}
	}
	return all, nil
}

// run executes a program of the host and returns what it printed.
func run(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
