// Package deb installs the project's Debian package into directories of its own, as dpkg does it.
package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// target is a root directory with a package database of its own.
type target struct {
	t   *testing.T
	dir string
}

// newTarget makes an empty one.
func newTarget(t *testing.T) target {
	t.Helper()
	to := target{t, t.TempDir()}
	for _, dir := range []string{"updates", "info", "triggers"} {
		if err := os.MkdirAll(to.path("var/lib/dpkg/"+dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	to.write("var/lib/dpkg/status", "")
	return to
}

func (to target) path(name string) string { return filepath.Join(to.dir, name) }

func (to target) write(name, text string) {
	to.t.Helper()
	if err := os.MkdirAll(filepath.Dir(to.path(name)), 0o755); err != nil {
		to.t.Fatal(err)
	}
	if err := os.WriteFile(to.path(name), []byte(text), 0o644); err != nil {
		to.t.Fatal(err)
	}
}

func (to target) read(name string) string {
	to.t.Helper()
	text, err := os.ReadFile(to.path(name))
	if err != nil {
		to.t.Fatal(err)
	}
	return string(text)
}

// dpkg runs with the package's scripts, which know by DPKG_ROOT that it is not this machine they are about.
func (to target) dpkg(args ...string) (string, error) {
	args = append([]string{"--root=" + to.dir, "--force-script-chrootless", "--log=" + to.path("log"), "--force-confold", "--force-unsafe-io"}, args...)
	out, err := exec.Command("dpkg", args...).CombinedOutput()
	return string(out), err
}

func (to target) mustDpkg(args ...string) {
	to.t.Helper()
	if out, err := to.dpkg(args...); err != nil {
		to.t.Fatalf("dpkg %q: %v\n%s", args, err, out)
	}
}

func (to target) has(name string) bool {
	_, err := os.Lstat(to.path(name))
	return err == nil
}

// build makes the package of the programs that make build has built.
func build(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("../../hack/deb.sh", "bin", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found, err := filepath.Glob(dir + "/tare_*.deb")
	if err != nil || len(found) != 1 {
		t.Fatalf("packages: %q, %v", found, err)
	}
	return found[0]
}

func TestPackage(t *testing.T) {
	deb := build(t)
	to := newTarget(t)
	to.mustDpkg("--install", deb)
	tare := to.path("usr/bin/tare")
	if out, err := exec.Command(tare, "version").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command(tare, "config", "check", "--config", to.path("etc/tare/config.toml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if unit := to.read("usr/lib/systemd/system/tare.service"); !strings.Contains(unit, "\nExecStart=/usr/bin/tare serve\n") {
		t.Errorf("the unit starts something else:\n%s", unit)
	}
	for _, name := range []string{"usr/lib/tare/keeper", "usr/lib/cni/tare-bridge", "etc/tare/config.d", "usr/share/doc/tare/examples/crictl.yaml", "usr/share/doc/tare/kubernetes.md", "usr/share/bash-completion/completions/tare"} {
		if !to.has(name) {
			t.Errorf("there is no %s", name)
		}
	}

	const mine = "log.level = 'debug'\n"
	to.write("etc/tare/config.toml", mine)
	to.write("var/lib/tare/images/x", "")
	to.mustDpkg("--install", deb)
	if got := to.read("etc/tare/config.toml"); got != mine || !to.has("var/lib/tare/images/x") {
		t.Errorf("an upgrade leaves the configuration %q; images there: %v", got, to.has("var/lib/tare/images/x"))
	}

	to.write("run/tare/pods/record", "")
	if out, err := to.dpkg("--remove", "tare"); err == nil || !strings.Contains(out, "tare stop --all") || !to.has("usr/bin/tare") {
		t.Errorf("removal under a pod: %v, %s", err, out)
	}
	if err := os.Remove(to.path("run/tare/pods/record")); err != nil {
		t.Fatal(err)
	}
	to.mustDpkg("--remove", "tare")
	if got := to.read("etc/tare/config.toml"); got != mine || to.has("usr/bin/tare") || to.has("usr/lib/tare") {
		t.Errorf("removed, but programs are there, or the configuration is %q", got)
	}
	to.mustDpkg("--purge", "tare")
	for _, name := range []string{"etc/tare", "var/lib/tare", "run/tare", "usr/lib/tare", "usr/lib/cni/tare-bridge", "usr/lib/systemd/system/tare.service"} {
		if to.has(name) {
			t.Errorf("purged, but there is %s", name)
		}
	}
}
