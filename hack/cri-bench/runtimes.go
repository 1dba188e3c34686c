package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tare/hack/node"
	"tare/test/registry"
)

// attach is a runtime that runs already.
func (b *bench) attach(name, address string) *subject {
	s := &subject{name: name, endpoint: address, userns: true, processes: processes{names: []string{name}}}
	for _, p := range b.processes {
		if of, names, _ := strings.Cut(p, "="); of == name {
			s.processes.names = strings.Split(names, ",")
		}
	}
	return s
}

// tare is a build of Tare; cni is its network, or empty for its own.
func (b *bench) tare(name, bin string, number int, cni string) *subject {
	dir := filepath.Join(b.dir, fmt.Sprintf("tare%d", number))
	s := &subject{name: name, userns: true, chain: cni, own: newAccounting(fmt.Sprintf("tare%d", number))}
	o := node.Options{
		Bin: bin, Socket: dir + "/tare.sock", State: b.state("tare", number), Root: dir + "/root", Work: dir,
		Bridge: fmt.Sprintf("tarebench%d", number), Subnet: fmt.Sprintf("10.%d.0.0/16", 93+number), Cgroup: s.own.pods(),
		Prefix: s.own.prefix(), CNI: cni,
	}
	s.endpoint, s.cgroup = "unix://"+o.Socket, s.own.pods()
	var n *node.Node
	s.start = func(ctx context.Context) (err error) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if n, err = node.Start(ctx, o, b.images.addr()); err != nil {
			return err
		}
		keeper, err := n.KeeperPid()
		if err != nil {
			return err
		}
		s.processes = processes{pids: []int{n.Pid(), keeper}}
		if guard, err := n.GuardPid(); err == nil { // older builds have none
			s.processes.pids = append(s.processes.pids, guard)
		}
		return nil
	}
	s.end = func() error { return n.End() }
	s.stop = func() error {
		if n == nil {
			return nil
		}
		return n.Stop()
	}
	return s
}

// state is where a runtime has what belongs to this boot: below /run, as on a node, which in an enclosure is this
// program's own.
func (b *bench) state(name string, number int) string {
	if len(b.endpoints) > 0 {
		return filepath.Join(b.dir, fmt.Sprintf("%s%d-state", name, number))
	}
	return fmt.Sprintf("/run/%s%d", name, number)
}

// containerdConf is all it has to know; the rest are its defaults.
const containerdConf = `version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + pluginDir + `"
    conf_dir = %[4]q
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %[5]q
`

// chain is the usual chain of reference plugins.
func chain(bridge, subnet, dir string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %[1]q, "plugins": [
  {"type": "bridge", "bridge": %[1]q, "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "dataDir": %[3]q, "ranges": [[{"subnet": %[2]q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}`, bridge, subnet, filepath.Join(dir, "leases-"+bridge))
}

// startContainerd is the containerd installed here, with a root of its own.
func (b *bench) startContainerd() *subject {
	dir := filepath.Join(b.dir, "containerd")
	s := &subject{
		name: "containerd + runc", endpoint: "unix://" + dir + "/containerd.sock", own: newAccounting("containerd"),
		processes: processes{names: []string{"containerd", "containerd-shim-runc-v2", "containerd-shim", "pause"}},
	}
	s.cgroup = s.own.pods()
	conf := filepath.Join(dir, "config.toml")
	var cmd *exec.Cmd
	s.start = func(ctx context.Context) (err error) {
		if err := b.configureContainerd(dir, conf); err != nil {
			return err
		}
		cmd, err = startDaemon(ctx, append(s.own.prefix(), "containerd", "--config", conf), dir, s.endpoint)
		return err
	}
	s.end = func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ended is in its log
		return err
	}
	s.stop = func() error {
		if cmd == nil {
			return nil
		}
		return s.end()
	}
	return s
}

func (b *bench) configureContainerd(dir, conf string) error {
	certs, netd := filepath.Join(dir, "certs.d"), filepath.Join(dir, "net.d")
	if err := os.MkdirAll(netd, 0o755); err != nil {
		return err
	}
	if err := registry.WriteCertsDir(certs, b.images.addr(), registry.Hosts...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(netd, "10-net.conflist"), []byte(chain("benchc0", "10.91.0.0/16", b.dir)), 0o644); err != nil {
		return err
	}
	text := fmt.Sprintf(containerdConf, dir+"/root", b.state("containerd", 0), dir+"/containerd.sock", netd, certs)
	return os.WriteFile(conf, []byte(text), 0o644)
}

// startAnswers is the server of bin/floor that only answers.
func (b *bench) startAnswers() *subject {
	dir := filepath.Join(b.dir, "answers")
	s := &subject{name: "gRPC alone", endpoint: "unix://" + dir + "/answers.sock", own: newAccounting("answers"), hollow: true}
	var cmd *exec.Cmd
	s.start = func(ctx context.Context) (err error) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		argv := []string{filepath.Join(filepath.Dir(self), "floor"), "answers", dir + "/answers.sock"}
		cmd, err = startDaemon(ctx, append(s.own.prefix(), argv...), dir, s.endpoint)
		if err == nil {
			s.processes = processes{pids: []int{cmd.Process.Pid}}
		}
		return err
	}
	s.stop = func() error {
		if cmd == nil {
			return nil
		}
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return err
	}
	return s
}

// startDaemon executes a daemon and waits for its socket.
func startDaemon(ctx context.Context, argv []string, dir, endpoint string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(dir, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if conn, err := net.Dial("unix", strings.TrimPrefix(endpoint, "unix://")); err == nil {
			return cmd, conn.Close()
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log.Name())
			return cmd, errors.Join(ctx.Err(), errors.New(string(text[max(0, len(text)-2000):])))
		case <-time.After(2 * time.Millisecond):
		}
	}
}
