package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	pollStep   = 5 * time.Millisecond
	maxMessage = 32 << 20
)

// Bounds for a machine of today; -slower makes them longer.
var (
	// patience is for every wait for something that is bound to come.
	patience = 15 * time.Second
	// callTimeout is for a call that does not wait for anything by itself.
	callTimeout = 30 * time.Second
)

// daemon is one instance of the runtime.
type daemon struct {
	name string
	dir  string
	bin  string // of tare and keeper
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended

	conn    *grpc.ClientConn
	runtime runtime.RuntimeServiceClient
	images  runtime.ImageServiceClient
}

// options are what daemons differ in.
type options struct {
	root   string            // "": below the daemon's directory
	config string            // appended to the configuration
	disk   map[string]string // by directory of the daemon: options of a tmpfs that is mounted there
	bin    string            // "": the suite's
}

var daemons int

// bridgePrefix begins the name of each daemon's bridge.
const bridgePrefix = "e2e"

// newDaemon starts a daemon with paths, cgroups and network of its own.
func newDaemon(name string, o options) (*daemon, error) {
	daemons++
	d := &daemon{name: name, dir: filepath.Join(suite.dir, fmt.Sprintf("%d-%s", daemons, name)), bin: cmp.Or(o.bin, suite.bin)}
	if err := os.MkdirAll(d.path("net.d"), 0o755); err != nil {
		return nil, err
	}
	if o.root != "" {
		if err := os.Symlink(o.root, d.path("root")); err != nil {
			return nil, err
		}
	}
	for name, options := range o.disk {
		if err := errors.Join(os.Mkdir(d.path(name), 0o711), unix.Mount("tmpfs", d.path(name), "tmpfs", 0, options)); err != nil {
			return nil, err
		}
	}
	config := fmt.Sprintf(`cni.conf_dir = %q
cni.bin_dirs = [%q, "/usr/lib/cni"]
cni.netns_dir = %q
cni.bridge = "%s%d"
cni.subnets = ["10.%d.%d.0/24"]
registry.config_path = %q
cgroup.driver = %q
nri.socket_path = %q
nri.plugin_path = %q
nri.plugin_config_path = %q
cgroup.root = %q
log.level = "debug"
%s
`, d.path("net.d"), d.path("bin"), d.path("netns"), bridgePrefix, daemons, 201+daemons/256, daemons%256, suite.certs, *driver, d.path("nri.sock"), d.path("nri"), d.path("nri.d"), cgroupParent(name), o.config)
	if err := os.WriteFile(d.path("config.toml"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		return nil, fmt.Errorf("daemon %s: %w\n%s", name, err, tail(d.logFile(), 20))
	}
	return d, nil
}

// ownDaemon starts a daemon for one test; when that is over, everything of it is stopped.
func ownDaemon(t *testing.T, o options) *daemon {
	t.Helper()
	d, err := newDaemon(strings.ToLower(filepath.Base(t.Name())), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of daemon %s, its end:\n%s", d.name, tail(d.logFile(), 40))
		}
		if err := d.stopAll(); err != nil {
			t.Error(err)
		}
		for name := range o.disk {
			if err := unix.Unmount(d.path(name), unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) logFile() string {
	text, _ := os.ReadFile(d.path("daemon.log")) // for people only
	return string(text)
}

// start runs the daemon and returns when it serves.
func (d *daemon) start() error {
	log, err := os.OpenFile(d.path("daemon.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	socket := "unix://" + d.path("tare.sock")
	d.cmd = exec.Command(filepath.Join(d.bin, "tare"), "serve", "--listen", socket,
		"--root", d.path("root"), "--state", d.path("state"), "--config", d.path("config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.Env = append(os.Environ(), hostSecret+"=from-the-host")
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { _ = cmd.Wait(); close(done) }(d.cmd, d.done) // ends with the process
	if d.conn == nil {
		d.conn, err = grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(true)),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
		if err != nil {
			return err
		}
		d.runtime, d.images = runtime.NewRuntimeServiceClient(d.conn), runtime.NewImageServiceClient(d.conn)
	}
	d.conn.ResetConnectBackoff()
	return until("the daemon answers", func() error {
		select {
		case <-d.done:
			return finalError{errors.New("it ended")}
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		d.conn.ResetConnectBackoff()
		_, err := d.runtime.Version(ctx, &runtime.VersionRequest{})
		return err
	})
}

// hostSecret is a variable of the daemon's environment that no container may see.
const hostSecret = "TARE_HOST_VARIABLE"

// warmUp does everything once whose traces stay as long as the daemon lives: image, bridge, rules.
func (d *daemon) warmUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := d.images.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: busybox}})
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	run, err := d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: podConfig("warm-up")})
	if err != nil {
		return fmt.Errorf("run pod: %w", err)
	}
	_, err = d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId})
	return err
}

// signal ends the daemon's process.
func (d *daemon) signal(sig syscall.Signal) {
	_ = d.cmd.Process.Signal(sig) // it may have ended
	<-d.done
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// keeperPID is the pid of the daemon's keeper, 0 if there is none.
func (d *daemon) keeperPID() int {
	for _, pid := range processes() {
		args := cmdline(pid)
		if len(args) > 2 && args[0] == "keeper" && args[2] == d.path("state") {
			return pid
		}
	}
	return 0
}

// stopAll ends the daemon as people do, and checks that its process has ended.
func (d *daemon) stopAll() error {
	_, err := run(filepath.Join(d.bin, "tare"), "stop", "--all", "--state", d.path("state"))
	select {
	case <-d.done:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill() // for the sake of the other tests
		<-d.done
		err = errors.Join(err, errors.New("the daemon does not end"))
	}
	if pid := d.keeperPID(); pid != 0 {
		err = errors.Join(err, errors.New("the keeper is still there, pid "+strconv.Itoa(pid)))
	}
	return errors.Join(err, d.conn.Close())
}

// finalError is one that waiting does not cure.
type finalError struct{ error }

// until tries a condition until it holds.
func until(what string, holds func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return nil
		}
		if _, final := errors.AsType[finalError](err); final || time.Now().After(deadline) {
			return fmt.Errorf("%s: not after %s: %w", what, patience, err)
		}
		time.Sleep(pollStep)
	}
}

// await is until for tests: the one way in which they wait.
func await(t *testing.T, what string, holds func() error) {
	t.Helper()
	if err := until(what, holds); err != nil {
		t.Fatal(err)
	}
}
