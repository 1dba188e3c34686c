package service

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/leak"
)

// Two versions of the package.
const (
	older = "../../packages/tare_0.1.0_amd64.deb"
	newer = "../../packages/tare_0.1.1_amd64.deb"
)

// everywhere may a package leave something.
var everywhere = []string{"/etc", "/opt", "/root", "/usr", "/var"}

// TestPackage takes a node from the package's installation to its purge, which leaves nothing. The commands are those of
// docs/kubernetes.md and of the package's own messages.
func TestPackage(t *testing.T) {
	if !*install {
		t.Skip("not asked to install anything (-args -install)")
	}
	t.Setenv("TARE_LEAK_IGNORE", "^file /var/(lib/dpkg|lib/systemd|log|cache|tmp)/")
	before, err := leak.Take(everywhere...)
	if err != nil {
		t.Fatal(err)
	}
	output(t, "dpkg", "-i", older)
	serveImages(t)
	n := connect(t)
	for _, step := range []struct {
		name string
		do   func(*node)
	}{
		{"nothing is started by an installation", untouched},
		{"enabled", enabled},
		{"crictl", crictl},
		{"upgrade", upgrade},
		{"upgrade with a configuration not in order", badUpgrade},
		{"no removal under a pod", noRemoval},
		{"removal", removal},
		{"images stay", imagesStay},
		{"purge", func(n *node) { purge(n, before) }},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			n.t = t
			step.do(n)
		}) {
			t.Log(output(t, "journalctl", "-q", "-o", "cat", "-u", unit, "-n", "40"))
			return
		}
	}
}

func untouched(n *node) {
	if state := property(n.t, unit, "ActiveState") + ", " + property(n.t, unit, "UnitFileState"); state != "inactive, disabled" {
		n.t.Errorf("the unit is %s", state)
	}
}

func enabled(n *node) {
	output(n.t, "sh", "-c", "tare config check && systemctl enable --now tare")
	if state := property(n.t, unit, "ActiveState") + ", " + property(n.t, unit, "UnitFileState"); state != "active, enabled" {
		n.t.Errorf("the unit is %s", state)
	}
	n.cgroupDriver()
	n.run()
}

// crictl finds the runtime by the example the package brings.
func crictl(n *node) {
	output(n.t, "cp", "/usr/share/doc/tare/examples/crictl.yaml", "/etc/crictl.yaml")
	if said := output(n.t, "crictl", "pods", "--no-trunc", "-q"); strings.TrimSpace(said) != n.pod {
		n.t.Errorf("crictl sees pods %q", said)
	}
	if said := output(n.t, "crictl", "exec", "-s", n.id, "echo", "here"); strings.TrimSpace(said) != "here" {
		n.t.Errorf("crictl exec: %q", said)
	}
	if said := output(n.t, "crictl", "info"); !strings.Contains(said, "NetworkReady") {
		n.t.Errorf("crictl info: %s", said)
	}
}

// upgrade replaces daemon and keeper, and the container stays.
func upgrade(n *node) {
	daemon, keeper := n.mainPID(), n.keeper()
	output(n.t, "dpkg", "-i", newer)
	n.check(n.t)
	if got := n.version(); got != "0.1.1" || n.mainPID() == daemon {
		n.t.Errorf("the daemon was process %d, is %d and of version %s", daemon, n.mainPID(), got)
	}
	if now := n.keeper(); now != keeper {
		n.t.Errorf("the keeper was process %d and is %d", keeper, now)
	}
	if log := read(n.t, "/run/tare/keeper.log"); strings.Count(log, "executing another program") != 1 {
		n.t.Errorf("the keeper's log:\n%s", log)
	}
}

// badUpgrade installs the older one again, which leaves the daemon that runs alone.
func badUpgrade(n *node) {
	const bad = "/etc/tare/config.d/wrong.toml"
	daemon := n.mainPID()
	write(n.t, bad, "no.such.setting = 1\n")
	out, err := exec.Command("dpkg", "-i", older).CombinedOutput()
	if err != nil || !strings.Contains(string(out), bad) || !strings.Contains(string(out), "was left as it is") {
		n.t.Errorf("dpkg: %v, %s", err, out)
	}
	n.check(n.t)
	if got := n.version(); got != "0.1.1" || n.mainPID() != daemon {
		n.t.Errorf("the daemon was process %d, is %d and of version %s", daemon, n.mainPID(), got)
	}
	output(n.t, "rm", bad)
	output(n.t, "dpkg", "-i", newer)
	n.check(n.t)
}

func noRemoval(n *node) {
	out, err := exec.Command("dpkg", "-r", "tare").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "tare stop --all") {
		n.t.Errorf("dpkg: %v, %s", err, out)
	}
	if state := property(n.t, unit, "ActiveState") + ", " + property(n.t, unit, "UnitFileState"); state != "active, enabled" {
		n.t.Errorf("the unit is %s", state)
	}
	n.check(n.t)
}

// removal is possible after what the refusal has said, though systemd starts the daemon again at once.
func removal(n *node) {
	if said := output(n.t, "tare", "stop", "--all"); !strings.Contains(said, "systemctl stop "+unit) {
		n.t.Errorf("tare stop --all: %s", said)
	}
	output(n.t, "dpkg", "-r", "tare")
	if state := property(n.t, unit, "LoadState"); state != "not-found" {
		n.t.Errorf("the unit is %s", state)
	}
	if state := property(n.t, n.podUnit(), "LoadState"); state != "not-found" {
		n.t.Errorf("the pod's unit is %s", state)
	}
	for _, gone := range []string{"/run/tare", "/usr/lib/tare", "/usr/bin/tare", "/etc/systemd/system/multi-user.target.wants/" + unit, "/sys/fs/cgroup/system.slice/" + unit} {
		if exists(n.t, gone) {
			n.t.Errorf("there is %s", gone)
		}
	}
}

// imagesStay of a removal, and its configuration.
func imagesStay(n *node) {
	output(n.t, "dpkg", "-i", newer)
	systemctl(n.t, "start", unit)
	if said := output(n.t, "crictl", "images"); !strings.Contains(said, strings.Split(busybox, ":")[0]) {
		n.t.Errorf("crictl images: %s", said)
	}
	n.run()
	n.check(n.t)
}

// purge, after the pods have been removed by others than the package, leaves the machine as it was before.
func purge(n *node, before leak.Snapshot) {
	output(n.t, "crictl", "rmp", "-fa")
	output(n.t, "dpkg", "-P", "tare")
	output(n.t, "rm", "/etc/crictl.yaml")
	if failed := output(n.t, "systemctl", "--failed", "--plain", "--no-legend"); strings.Contains(failed, "tare") {
		n.t.Errorf("units that failed: %s", failed)
	}
	if profiles := read(n.t, "/sys/kernel/security/apparmor/profiles"); strings.Contains(profiles, "tare") {
		n.t.Errorf("AppArmor profiles: %s", profiles)
	}
	left, err := leak.Settle(before, 10*time.Second, everywhere...)
	if err != nil || len(left) > 0 {
		n.t.Errorf("left: %v, %v", left, err)
	}
}

func (n *node) version() string {
	n.t.Helper()
	r, err := n.runtime.Version(deadline(n.t), &runtime.VersionRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.RuntimeVersion
}
