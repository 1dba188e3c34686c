// Package node runs a daemon of its own for the demo and the benchmark: bin/tare with its paths,
// a registry on loopback with the test images, and a CRI client.
//
// A Node's daemon dies with the process that started it; Stop removes all the rest. Images are served by
// this process. Not here: what is done with it.
package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tare/test/registry"
)

const (
	startWait = 20 * time.Second // until the daemon answers
	stopWait  = 3 * time.Minute  // of "tare stop --all"
	logTail   = 20               // lines of its log shown when it fails
)

// The daemon is to die with us (PR_SET_PDEATHSIG), which the kernel ties to the thread that
// started it: so that one must live as long as we do.
func init() { runtime.LockOSThread() }

// Options say where things are. All but Bin have to be set.
type Options struct {
	Bin    string // directory of tare and keeper; empty: where this program is
	Socket string // path of the CRI socket
	Root   string
	State  string
	Work   string // directory for configuration, logs and hosts.toml files; exists
	Bridge string // of the embedded network
	Subnet string
	Cgroup string // parent of the pods' cgroups
	// Prefix is a command that executes the daemon as its last act, with arguments; empty: none.
	Prefix []string
	// CNI is a network configuration list; empty: the embedded network.
	CNI string
}

// Node is a running daemon.
type Node struct {
	Options
	daemon *exec.Cmd
	ended  chan struct{}
}

// setDefaults finds the programs.
func (o *Options) setDefaults() error {
	if o.Bin != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.Bin = filepath.Dir(self)
	return nil
}

// Serve builds the test images and serves them. The caller closes the server.
func Serve() (*registry.Server, error) {
	catalog, err := registry.Build()
	if err != nil {
		return nil, err
	}
	return registry.Serve(catalog, registry.Options{})
}

// Start runs a daemon that pulls from a registry at addr, whatever host an image names. It
// returns when it can be reached.
func Start(ctx context.Context, o Options, addr string) (*Node, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if err := o.configure(addr); err != nil {
		return nil, err
	}
	log, err := os.Create(o.logPath())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Preconditions of Pdeathsig: the main thread, see init.
	argv := slices.Concat(o.Prefix, []string{filepath.Join(o.Bin, "tare"), "serve", "--listen", "unix://" + o.Socket,
		"--root", o.Root, "--state", o.State, "--config", o.configPath()})
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon (make build): %w", err)
	}
	n := &Node{Options: o, daemon: cmd, ended: make(chan struct{})}
	go func() { // ends with the daemon
		_ = cmd.Wait() // how it ended is in its log
		close(n.ended)
	}()
	return n, n.awaitSocket(ctx)
}

func (o *Options) configPath() string { return filepath.Join(o.Work, "config.toml") }
func (o *Options) logPath() string    { return filepath.Join(o.Work, "daemon.log") }

// configure writes the daemon's configuration: a registry on loopback, no CNI configuration.
func (o *Options) configure(addr string) error {
	certs, conf := filepath.Join(o.Work, "certs.d"), filepath.Join(o.Work, "net.d")
	if err := registry.WriteCertsDir(certs, addr, registry.Hosts...); err != nil {
		return err
	}
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	if o.CNI != "" {
		if err := os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(o.CNI), 0o644); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("[registry]\nconfig_path = %q\n\n[cni]\nconf_dir = %q\nbridge = %q\nsubnets = [%q]\n\n[cgroup]\nroot = %q\n",
		certs, conf, o.Bridge, o.Subnet, o.Cgroup)
	return os.WriteFile(o.configPath(), []byte(text), 0o644)
}

func (n *Node) awaitSocket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		// Not just a look at the file: it may be left of a daemon that was killed.
		if conn, err := net.Dial("unix", n.Socket); err == nil {
			return conn.Close()
		}
		select {
		case <-n.ended:
			return fmt.Errorf("the daemon ended: %s", n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not answer: %w\n%s", ctx.Err(), n.LogTail())
		case <-time.After(time.Millisecond):
		}
	}
}

// lastWords is the last line of the daemon's log.
func (n *Node) lastWords() string {
	lines := strings.Split(strings.TrimSpace(n.LogTail()), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "tare: ")
}

// LogTail is the end of the daemon's log.
func (n *Node) LogTail() string {
	text, _ := os.ReadFile(n.logPath()) // no log, nothing to show
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-logTail):], []byte("\n")))
}

// Pid is the daemon's.
func (n *Node) Pid() int { return n.daemon.Process.Pid }

// End has the daemon end, and nothing else: pods stay, and Start with the same options finds them.
func (n *Node) End() error {
	err := n.daemon.Process.Signal(syscall.SIGTERM)
	<-n.ended
	return err
}

// Stop ends pods, daemon and keeper and removes what they had.
func (n *Node) Stop() error {
	err := StopAll(n.Options)
	select {
	case <-n.ended:
	case <-time.After(startWait):
		err = errors.Join(err, errors.New("the daemon does not end"), n.daemon.Process.Kill())
		<-n.ended
	}
	return err
}

// StopAll is Stop for a daemon that another process started, or that is dead.
func StopAll(o Options) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(o.Bin, "tare"), "stop", "--all", "--state", o.State).CombinedOutput()
	if err != nil {
		return fmt.Errorf("tare stop --all: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// KeeperPid is the keeper's.
func (n *Node) KeeperPid() (int, error) { return n.pidIn("keeper.pid") }

// GuardPid is that of the keeper's guard.
func (n *Node) GuardPid() (int, error) { return n.pidIn("keeper.guard") }

// pidIn reads the number that a file of the state directory begins with.
func (n *Node) pidIn(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(n.State, name))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return strconv.Atoi(first)
}
