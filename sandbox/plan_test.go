package sandbox

import (
	"os"
	"testing"
	"time"

	"tare/spec"
	"tare/test/golden"
)

func TestPrograms(t *testing.T) {
	userns := &spec.UserNamespace{UID: spec.IDMap{Host: 100000, Length: 65536}, GID: spec.IDMap{Host: 200000, Length: 65536}}
	for _, tt := range []struct {
		name string
		pod  spec.Pod
	}{
		{"pod", spec.Pod{Hostname: "web-0", Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}}},
		{"pod-hostnet-named", spec.Pod{Hostname: "web-0", Namespaces: spec.Namespaces{Network: spec.ModeNode, IPC: spec.ModeNode}}},
		{"pod-userns", spec.Pod{Hostname: "web-0", Namespaces: spec.Namespaces{User: userns}}},
		{"pod-clocks", spec.Pod{Clocks: &spec.Clocks{Monotonic: 24 * time.Hour, Boottime: -1500 * time.Millisecond}, Namespaces: spec.Namespaces{User: userns}}},
		{"pod-hostnet", spec.Pod{Namespaces: spec.Namespaces{Network: spec.ModeNode}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New("0123456789abcdef", &tt.pod, Layout{Dir: "/run/tare/sandboxes", NetNS: "/var/run/netns"})
			golden.Check(t, tt.name, p.Program.String())
		})
	}
}

func TestBareProgram(t *testing.T) { golden.Check(t, "bare", bareProgram().String()) }

func TestNothingOfItsOwn(t *testing.T) {
	p := New("0123456789abcdef", &spec.Pod{Namespaces: spec.Namespaces{Network: spec.ModeNode, IPC: spec.ModeNode}}, Layout{})
	if p.Program != nil || p.NetNS != "" || p.Shm || len(p.Kinds) != 0 {
		t.Errorf("a pod in the host's namespaces plans %+v", p)
	}
}

func TestFiles(t *testing.T) {
	data, err := resolv(spec.DNS{Servers: []string{"10.0.0.10", "10.0.0.11"}, Searches: []string{"a.svc", "svc"}, Options: []string{"ndots:5"}})
	if want := "search a.svc svc\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n"; err != nil || string(data) != want {
		t.Errorf("resolv.conf %q, %v; want %q", data, err, want)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	onHost := spec.Namespaces{Network: spec.ModeNode}
	for want, pod := range map[string]*spec.Pod{host: {Namespaces: onHost}, "own": {Hostname: "own", Namespaces: onHost}} {
		if data, err := hostname(pod); err != nil || string(data) != want+"\n" {
			t.Errorf("hostname in the host's network %q, %v; want %q", data, err, want)
		}
	}
}
