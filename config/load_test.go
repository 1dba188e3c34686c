package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	tests := []struct {
		name   string
		text   string
		change func(*Config) // of the defaults
		errs   []string      // words the error must hold; none: no error
	}{
		{name: "empty file", change: func(*Config) {}},
		{
			name: "every key",
			text: `
[cni]
conf_dir = "/a"
bin_dirs = ["/b", "/c"]
bridge = "br1"
subnets = ["10.1.0.0/16", "fd00::/64"]
netns_dir = "/d"
timeout = "1m30s"
embedded = false
[registry]
config_path = "/e"
auth_file = "/f"
stall_timeout = "5s"
[cgroup]
driver = "systemd"
root = "pods.slice"
[images]
pinned = ["registry.k8s.io/pause:3.10"]
verifier_dir = "/g"
decryption_keys_dir = "/k"
[container]
device_ownership_from_security_context = true
[cdi]
spec_dirs = ["/f", "/g"]
[hooks]
dirs = ["/h"]
[security]
selinux = "off"
[streaming]
address = "::1"
port = 10250
[log]
level = "debug"
[tracing]
endpoint = "collector:4317"
sampling_ratio = 0.25
keep = 100
`,
			change: func(c *Config) {
				*c = Config{
					CNI:      CNI{"/a", []string{"/b", "/c"}, "br1", []string{"10.1.0.0/16", "fd00::/64"}, "/d", Duration(90 * time.Second), false},
					Registry: Registry{"/e", "/f", Duration(5 * time.Second)}, Cgroup: Cgroup{"systemd", "pods.slice"},
					Images: Images{[]string{"registry.k8s.io/pause:3.10"}, "/g", "/k"}, Container: Container{true}, CDI: CDI{[]string{"/f", "/g"}}, Hooks: Hooks{[]string{"/h"}}, Security: Security{"off"}, Streaming: Streaming{"::1", 10250}, Log: Log{"debug"}, NRI: Default().NRI, Tracing: Tracing{"collector:4317", 0.25, 100},
				}
			},
		},
		{name: "one key leaves the others", text: "cni.bridge = 'x'\n", change: func(c *Config) { c.CNI.Bridge = "x" }},
		{name: "unknown key", text: "[cni]\n\nconfdir = '/a'\n", errs: []string{":3:1: cni.confdir: unknown key"}},
		{name: "unknown keys are all named", text: "[a]\nx = 1\n[cgroup]\ny = 2\n", errs: []string{":1:2: a:", ":4:1: cgroup.y"}},
		{name: "wrong type", text: "[cni]\nbin_dirs = 'x'\n", errs: []string{":2:12: cni.bin_dirs"}},
		{name: "not TOML", text: "[cni\n", errs: []string{":1:5: "}},
		{name: "key twice", text: "[log]\nlevel='info'\nlevel='info'\n", errs: []string{":3:1: level"}},
		{name: "relative directory", text: "cni.bin_dirs = ['/a', 'b']\n", errs: []string{":1:1: cni.bin_dirs", `"b"`}},
		{name: "relative CDI directory", text: "cdi.spec_dirs = ['cdi']\n", errs: []string{"cdi.spec_dirs", `"cdi"`}},
		{name: "empty CDI directory", text: "cdi.spec_dirs = ['']\n", errs: []string{"cdi.spec_dirs"}},
		{name: "relative hooks directory", text: "hooks.dirs = ['h']\n", errs: []string{":1:1: hooks.dirs", `"h"`}},
		{name: "no directory of namespaces", text: "cni.netns_dir = ''\n", errs: []string{":1:1: cni.netns_dir: an empty path"}},
		{name: "no directory of configurations", text: "cni.conf_dir = ''\n", errs: []string{":1:1: cni.conf_dir: an empty path"}},
		{name: "empty directory of plugins", text: "cni.bin_dirs = ['']\n", errs: []string{":1:1: cni.bin_dirs: an empty path"}},
		{name: "pinned by nothing", text: "images.pinned = ['a b']\n", errs: []string{":1:1: images.pinned", `"a b"`}},
		{name: "something to reject", text: "nri.reject = ['hooks', 'mounts']\n", errs: []string{":1:1: nri.reject", `"mounts"`}},
		{name: "no bridge", text: "cni.bridge = ''\n", errs: []string{"cni.bridge"}},
		{name: "long bridge", text: "cni.bridge = '0123456789012345'\n", errs: []string{"cni.bridge"}},
		{name: "subnet", text: "cni.subnets = ['10.0.0.1']\n", errs: []string{"cni.subnets", "10.0.0.1"}},
		{name: "subnet with host bits", text: "cni.subnets = ['10.0.0.5/8']\n", errs: []string{":1:1: cni.subnets", "10.0.0.0/8 is meant"}},
		{name: "subnet without room", text: "cni.subnets = ['fd00::/127']\n", errs: []string{":1:1: cni.subnets", "no room"}},
		{name: "subnet of the loopback", text: "cni.subnets = ['127.0.0.0/8']\n", errs: []string{":1:1: cni.subnets", "not usable"}},
		{name: "two subnets of a family", text: "cni.subnets = ['10.0.0.0/16', '10.1.0.0/16']\n", errs: []string{":1:1: cni.subnets", "second"}},
		{name: "bridge that is the loopback", text: "cni.bridge = 'lo'\n", errs: []string{":1:1: cni.bridge", "loopback"}},
		{name: "bridge that the kernel would number", text: "cni.bridge = 'tare%d'\n", errs: []string{":1:1: cni.bridge", "tare%d"}},
		{name: "bridge with a dot", text: "cni.bridge = '..'\n", errs: []string{":1:1: cni.bridge"}},
		{name: "cgroup that is relative", text: "cgroup.root = 'pods'\n", errs: []string{":1:1: cgroup.root", "absolute path"}},
		{name: "cgroup above", text: "cgroup.root = '/a/../b'\n", errs: []string{":1:1: cgroup.root"}},
		{name: "cgroup that is no slice", text: "[cgroup]\ndriver = 'systemd'\nroot = '/pods'\n", errs: []string{":3:1: cgroup.root", "not a slice"}},
		{name: "cgroup that is a slice", text: "[cgroup]\ndriver = 'cgroupfs'\nroot = 'pods.slice'\n", errs: []string{":3:1: cgroup.root", "is a slice"}},
		{name: "collector without a port", text: "tracing.endpoint = 'collector:otlp'\n", errs: []string{":1:1: tracing.endpoint", "HOST:PORT"}},
		{name: "timeout", text: "cni.timeout = 'soon'\n", errs: []string{":1:15: cni.timeout", "soon"}},
		{name: "negative timeout", text: "cni.timeout = '-1s'\n", errs: []string{"cni.timeout", "-1s"}},
		{name: "driver", text: "cgroup.driver = 'docker'\n", errs: []string{"cgroup.driver", "docker"}},
		{name: "labels", text: "security.selinux = 'on'\n", errs: []string{"security.selinux", "on"}},
		{name: "address", text: "streaming.address = 'localhost'\n", errs: []string{"streaming.address", "localhost"}},
		{name: "port", text: "streaming.port = 65536\n", errs: []string{"streaming.port"}},
		{name: "collector", text: "tracing.endpoint = 'collector'\n", errs: []string{"tracing.endpoint", "HOST:PORT"}},
		{name: "ratio", text: "tracing.sampling_ratio = 1.5\n", errs: []string{"tracing.sampling_ratio", "1.5"}},
		{name: "no number", text: "tracing.sampling_ratio = nan\n", errs: []string{"tracing.sampling_ratio"}},
		{name: "handler's negative timeout", text: "[handlers.runc]\nbinary = '/x'\ntimeout = '-1s'\n", errs: []string{":3:11: handlers.runc.timeout", "-1s"}},
		{name: "handler's timeout without unit", text: "[handlers.runc]\nbinary = '/x'\ntimeout = 30\n", errs: []string{":3:1: handlers.runc.timeout: a span of time is in quotes"}},
		{name: "handler's relative program", text: "[handlers.runc]\nbinary = 'runc'\n", errs: []string{"handlers.runc.binary", `"runc"`}},
		{name: "handler of no name", text: "[handlers.'../x']\nbinary = '/x'\n", errs: []string{`:1:2: handlers.../x: "../x"`, "lower case"}},
		{name: "negative keep", text: "tracing.keep = -1\n", errs: []string{"tracing.keep", "-1"}},
		{name: "level", text: "\n[log]\n  level = 'loud'\n", errs: []string{":3:3: log.level", "loud"}},
		{name: "string for a list", text: "cni.bin_dirs = 'x'\n", errs: []string{":1:16: cni.bin_dirs: found a string, but the value has to be a list of strings"}},
		{name: "number for a section", text: "cni = 1\n", errs: []string{":1:7: cni: found an integer, but the value has to be a table"}},
		{name: "list of sections", text: "[[cni]]\nbridge = 'x'\n", errs: []string{":1:3: cni: a table is in single brackets"}},
		{name: "large port", text: "streaming.port = 65536\n", errs: []string{":1:18: streaming.port: 65536 is not between 0 and 65535"}},
		{name: "span without unit", text: "\n[cni]\ntimeout = 30\n", errs: []string{":3:1: cni.timeout: a span of time is in quotes"}},
		{name: "span that is no span", text: "cni.timeout = true\n", errs: []string{":1:1: cni.timeout: a span of time is in quotes"}},
		{name: "capitals", text: "[CNI]\nbridge = 'x'\n", errs: []string{":2:1: CNI.bridge: unknown key"}},
		{name: "capitals in an option", text: "cni.Bridge = 'x'\n", errs: []string{":1:1: cni.Bridge: unknown key"}},
		{name: "handler without binary", text: "\n[handlers.runc]\n", errs: []string{":2:2: handlers.runc.binary"}},
		{name: "handler's name", text: "[log]\nlevel = 'info'\n[handlers.RunC]\nbinary = '/b'\n", errs: []string{":3:2: handlers.RunC: \"RunC\" is not"}},
		{name: "built-in handler", text: "handlers.tare.binary = '/b'\n", errs: []string{":1:1: handlers.tare: \"tare\" is a built-in handler"}},
		{name: "level in one line", text: "\nlog = {level = 'loud'}\n", errs: []string{":2:8: log.level", "loud"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, _, err := Load(path)
			if len(tt.errs) == 0 {
				want := Default()
				tt.change(&want)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
				}
				return
			}
			if err == nil {
				t.Fatalf("no error, got %+v", got)
			}
			for _, word := range append(tt.errs, path) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not name %q", err, word)
				}
			}
		})
	}
}

func TestLoadAbsent(t *testing.T) {
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was asked for: %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(DefaultPath); err == nil {
		t.Skip("this machine has a " + DefaultPath)
	}
	got, _, err := Load("")
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, %v, want the defaults", got, err)
	}
}
