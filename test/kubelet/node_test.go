package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// up starts registry, daemon and kubelet.
func (m *machine) up() error {
	return errors.Join(m.serveImages(), m.connect(), m.startDaemon(), m.startKubelet())
}

// run executes a program of the main module to its end.
func (m *machine) run(name string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(m.bin, name), args...)
	cmd.Env = append(os.Environ(), "TARE_LEAK_CGROUPS="+m.cgroups.top)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (m *machine) endpoint() string { return "unix://" + m.path("tare.sock") }

// startDaemon runs the runtime and returns when it serves.
func (m *machine) startDaemon() (err error) {
	config := fmt.Sprintf(`registry.config_path = %q
cni.conf_dir = %q
cni.bridge = "kubelet0"
cgroup.driver = %q
cgroup.root = %q
cdi.spec_dirs = [%q]
log.level = "debug"
`, m.path("certs.d"), m.path("net.d"), *driver, m.cgroups.own(), m.path("cdi"))
	if err := os.WriteFile(m.path("config.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	m.daemon, err = m.start("tare", "serve", "--listen", m.endpoint(),
		"--root", m.path("root"), "--state", m.path("state"), "--config", m.path("config.toml"))
	if err != nil {
		return err
	}
	return m.serves(m.daemon, func(ctx context.Context) error {
		_, err := m.runtime.Version(ctx, &runtime.VersionRequest{})
		return err
	})
}

// serves waits until a process answers.
func (m *machine) serves(p *process, ask func(context.Context) error) error {
	err := until("it answers", func() error {
		select {
		case <-p.done:
			return finalError{errors.New("it ended")}
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout())
		defer cancel()
		return ask(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), err, p.tail(20))
	}
	return nil
}

// configuration is the kubelet's.
func (m *machine) configuration() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": m.endpoint(),
		"staticPodPath":            m.path("manifests"),
		"podLogsDir":               m.path("logs"),
		"fileCheckFrequency":       "1s",
		// What a cluster is asked, in a form that tests can read, and each time.
		"contentType": "application/json", "configMapAndSecretChangeDetectionStrategy": "Get",
		"address": "127.0.0.1", "port": kubeletPort, "healthzPort": kubeletPort + 1,
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": true}, "webhook": map[string]any{"enabled": false}},
		"authorization":  map[string]any{"mode": "AlwaysAllow"},

		"cgroupDriver": *driver, "cgroupRoot": m.cgroups.root, "failCgroupV1": false,
		"enforceNodeAllocatable": []string{},
		"protectKernelDefaults":  true, "makeIPTablesUtilChains": false, "failSwapOn": false, "oomScoreAdj": 0,
		// Whatever the machine's disks are like, no pod is evicted.
		"evictionHard":                map[string]string{"memory.available": "1Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
		"imageGCHighThresholdPercent": 100, // none is collected
		"volumeStatsAggPeriod":        "5s",
		"maxPods":                     150,
		"featureGates":                map[string]bool{"PodAndContainerStatsFromCRI": true},
		"containerLogMaxSize":         "1Mi", "containerLogMonitorInterval": "3s", "containerLogMaxFiles": 10,
		"logging": map[string]any{"verbosity": 2},
	}
}

// startKubelet runs the kubelet, with options that win over its configuration, and returns when it serves.
func (m *machine) startKubelet(options ...string) (err error) {
	config, err := yaml.Marshal(m.configuration())
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.path("kubelet.yaml"), config, 0o644); err != nil {
		return err
	}
	m.kubelet, err = m.start("kubelet", append(options, "--config", m.path("kubelet.yaml"), "--root-dir", m.path("kubelet"),
		"--cert-dir", m.path("pki"), "--node-ip", nodeIP, "--hostname-override", nodeName)...)
	if err != nil {
		return err
	}
	return m.serves(m.kubelet, func(ctx context.Context) error {
		_, err := m.get(ctx, "/healthz")
		return err
	})
}

// restartKubelet has another kubelet take over, with these options.
func (m *machine) restartKubelet(options ...string) error {
	return errors.Join(m.kubelet.end(syscall.SIGTERM), m.startKubelet(options...))
}

// close stops everything and looks for what is left.
func (m *machine) close(failed bool) error {
	err := m.kubelet.end(syscall.SIGTERM)
	if m.daemon != nil {
		_, stop := m.run("tare", "stop", "--all", "--state", m.path("state"))
		err = errors.Join(err, stop, m.daemon.end(syscall.SIGTERM))
	}
	err = errors.Join(err, m.registry.end(syscall.SIGTERM), m.unmountVolumes(), m.cgroups.remove())
	if err == nil && !failed {
		_, err = m.run("leak", "diff", m.path("before.json"))
	}
	if failed || *keep {
		fmt.Fprintln(os.Stderr, "the logs are in", m.dir)
		return err
	}
	return errors.Join(err, m.restoreTunables(), os.RemoveAll(m.dir))
}

// unmountVolumes ends what the kubelet mounts: its directory on itself, and volumes of pods that
// it had no time to tear down.
func (m *machine) unmountVolumes() error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(string(table)), "\n")) { // the innermost first
		if place := strings.Fields(line)[4]; strings.HasPrefix(place+"/", m.path("kubelet")+"/") {
			err = errors.Join(err, syscall.Unmount(place, syscall.MNT_DETACH))
		}
	}
	return err
}
