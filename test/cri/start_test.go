package cri

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startWait is how long registry and daemon may take to answer, stopWait how long
// they may take to end.
const (
	startWait = 20 * time.Second
	stopWait  = 20 * time.Second
)

// cgroupRoot is where the daemon's cgroups are. Cgroups are shared with the rest of
// the machine, in an enclosure too.
func cgroupRoot() string {
	if *driver == "systemd" {
		return "/critest.slice"
	}
	return "/tare-critest-" + os.Getenv(outerVar)
}

// checkLeaks compares the host at the end of the test with now. Differences are
// errors if they are ours to answer for.
func checkLeaks(t *testing.T, file string, judge bool) {
	leak := filepath.Join(bin, "leak")
	if judge {
		t.Setenv("TARE_LEAK_CGROUPS", cgroupRoot())
	}
	if out, err := exec.Command(leak, "take", file).CombinedOutput(); err != nil {
		t.Fatalf("leak take: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		out, err := exec.Command(leak, "diff", file).CombinedOutput()
		switch {
		case err == nil:
			t.Log("the host is as it was before")
		case judge:
			t.Errorf("left on the host: %v\n%s", err, indent(string(out)))
		default:
			t.Logf("changed on the host:\n%s", indent(string(out)))
		}
	})
}

// startRegistry serves the images and has hosts.toml files written to certs.
func startRegistry(t *testing.T, certs string) {
	cmd := exec.Command(filepath.Join(bin, "registry"), "-until-eof", "-certs-dir", certs)
	// The pipe ends with this process, however that ends, and the registry with it.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, cmd) })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("registry did not start: %v\n%s", err, errs.String())
	}
	t.Log("registry on", strings.TrimSpace(addr))
}

// startDaemon runs tare with all of its paths below the suite's directory, and
// stops daemon, keeper and pods when the test is over.
func (s *suite) startDaemon(t *testing.T, certs string) {
	path := func(name string) string { return filepath.Join(s.dir, name) }
	config := fmt.Sprintf("[registry]\nconfig_path = %q\n\n[cni]\nconf_dir = %q\nbin_dirs = [\"/usr/lib/cni\", \"/opt/cni/bin\"]\nbridge = \"tarecritest\"\n\n[cgroup]\ndriver = %q\nroot = %q\n[nri]\nsocket_path = %q\nplugin_path = %q\nplugin_config_path = %q\nplugin_request_timeout = \"10s\"\n",
		certs, path("net.d"), *driver, cgroupRoot(), path("nri.sock"), path("nri"), path("nri.d"))
	if binary, err := exec.LookPath(*handler); err == nil {
		config += fmt.Sprintf("[handlers.%s]\nbinary = %q\n", *handler, binary)
	}
	if err := os.WriteFile(path("config.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	// No CNI configuration: the embedded network is what is tested.
	if err := os.MkdirAll(path("net.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.log = path("daemon.log")
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	s.endpoint = "unix://" + path("tare.sock")
	cmd := exec.Command(*tareBin, "serve", "--listen", s.endpoint,
		"--root", path("root"), "--state", path("state"), "--config", path("config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the daemon (make build): %v", err)
	}
	t.Cleanup(func() {
		out, err := exec.Command(*tareBin, "stop", "--all", "--state", path("state")).CombinedOutput()
		if err != nil {
			t.Errorf("tare stop --all: %v\n%s", err, out)
		}
		stop(t, cmd)
	})
	if err := dial(path("tare.sock")); err != nil {
		t.Fatalf("daemon: %v\n%s", err, indent(tail(s.daemonLog(), tailLines)))
	}
}

func dial(socket string) error {
	deadline := time.Now().Add(startWait)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop asks cmd to end, and kills it if it does not.
func stop(t *testing.T, cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }() // ends with the process
	select {
	case <-done:
	case <-time.After(stopWait):
		t.Errorf("%s does not end on SIGTERM", filepath.Base(cmd.Path))
		_ = cmd.Process.Kill()
		<-done
	}
}

// dots passes on ginkgo's progress marks, which it writes one at a time, and
// nothing else of its output.
type dots struct{ w io.Writer }

func (d dots) Write(p []byte) (int, error) {
	if len(bytes.TrimSpace(p)) == 0 || len(p) > len("•") {
		return len(p), nil
	}
	_, err := d.w.Write(p)
	return len(p), err
}
