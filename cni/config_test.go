package cni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestConfigurationsAreWatched(t *testing.T) {
	for _, kind := range []string{"directory", "link to one"} {
		t.Run(kind, func(t *testing.T) {
			leavesNothing(t)
			o := options(t)
			if kind != "directory" {
				link := o.ConfDir + ".link"
				if err := os.Symlink(o.ConfDir, link); err != nil {
					t.Fatal(err)
				}
				o.ConfDir = link
			}
			testConfigurationsAreWatched(t, o)
		})
	}
}

// TestAwaitedConfiguration: where the embedded network is switched off, nothing is ready before a configuration is there.
func TestAwaitedConfiguration(t *testing.T) {
	leavesNothing(t)
	o := options(t)
	o.Await = true
	n := open(t, o)
	if ok, reason, message := n.Status(); ok || reason != notReady || !strings.Contains(message, o.ConfDir) {
		t.Errorf("status %v %q %q", ok, reason, message)
	}
	if _, err := n.Add(t.Context(), newPod(t, "early")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("add without a configuration: %v", err)
	}
	writePlugin(t, o, "good", wellBehaved)
	writeConfig(t, o, "50-a.conflist", conflist("a", "1.1.0", "good"))
	if ok, reason, message := n.Status(); !ok {
		t.Errorf("with a configuration: %q %q", reason, message)
	}
	p := newPod(t, "late")
	if r := add(t, n, p); r.Network != "a" {
		t.Errorf("result %+v", r)
	}
	os.Remove(filepath.Join(o.ConfDir, "50-a.conflist"))
	if ok, _, _ := n.Status(); ok {
		t.Error("ready when it is gone")
	}
	del(t, n, p)
}

func TestConfigurationFiles(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "split")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "10.conf"), []byte(`{"type":"second"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, file, text, want string }{
		{"list", "a.conflist", conflist("n", "1.0.0", "x"), "n x"},
		{"single", "a.conf", `{"cniVersion":"0.3.1","name":"n","type":"x"}`, "n x"},
		{"single in json", "a.json", `{"cniVersion":"0.3.1","name":"n","type":"x"}`, "n x"},
		{"list in json", "a.json", conflist("n", "1.0.0", "x"), "n x"},
		{"plugins in files beside", "a.conflist", `{"cniVersion":"1.1.0","name":"split","plugins":[{"type":"first"}]}`, "split first second"},
		{"no plugins", "a.conflist", `{"cniVersion":"1.0.0","name":"n","plugins":[]}`, ""},
		{"no name", "a.conflist", conflist("", "1.0.0", "x"), ""},
		{"name is a path", "a.conflist", conflist("../n", "1.0.0", "x"), ""},
		{"unknown version", "a.conflist", conflist("n", "9.0.0", "x"), ""},
		{"no type", "a.conf", `{"cniVersion":"1.0.0","name":"n"}`, ""},
		{"no json", "a.conf", "name: n", ""},
		{"empty", "a.conf", "", ""},
		{"null", "a.conflist", "null", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, tt.file)
			if err := os.WriteFile(file, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			list, err := loadConfig(file)
			got := ""
			if err == nil {
				again, err := parseConfig(list.Bytes) // what a record keeps must say all
				if err != nil {
					t.Fatal(err)
				}
				got = again.Name
				for _, p := range again.Plugins {
					got += " " + p.Network.Type
				}
			}
			if got != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
