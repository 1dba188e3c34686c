package bridge

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseConfig(t *testing.T) {
	const ok = `{"cniVersion":"1.1.0","name":"n","type":"tare-bridge","subnets":["10.1.0.0/24"]%s}`
	tests := []struct{ name, stdin, wrong string }{
		{"smallest", fmt.Sprintf(ok, ""), ""},
		{"everything", fmt.Sprintf(ok, `,"bridge":"b0","mtu":1400,"dataDir":"/d","stateDir":"/s","noMasquerade":true`), ""},
		{"ipRanges replace subnets", `{"name":"n","runtimeConfig":{"ipRanges":[[{"subnet":"10.1.0.0/24"}]]}}`, ""},
		{"no json", `x`, "parse"},
		{"no name", `{"subnets":["10.1.0.0/24"]}`, "name"},
		{"no subnet", `{"name":"n"}`, "subnets"},
		{"subnets overlap", `{"name":"n","subnets":["10.1.0.0/24","10.1.0.0/16"]}`, "overlaps"},
		{"host bits", `{"name":"n","subnets":["10.1.0.1/24"]}`, "host bits"},
		{"too small", `{"name":"n","subnets":["10.1.0.0/31"]}`, "no room"},
		{"multicast", `{"name":"n","subnets":["ff00::/64"]}`, "not usable"},
		{"everything there is", `{"name":"n","subnets":["0.0.0.0/0"]}`, "not usable"},
		{"bridge name too long", fmt.Sprintf(ok, `,"bridge":"abcdefghijklmnop"`), "bridge"},
		{"bridge name with a dot", fmt.Sprintf(ok, `,"bridge":"br.1"`), "bridge"},
		{"relative directory", fmt.Sprintf(ok, `,"dataDir":"d"`), "absolute"},
		{"bad prevResult", fmt.Sprintf(ok, `,"prevResult":{"cniVersion":"1.0.0","ips":1}`), "prevResult"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig([]byte(tt.stdin))
			if tt.wrong == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%v, want InvalidArgument about %q", err, tt.wrong)
			}
		})
	}
}

func TestSubnetOrder(t *testing.T) {
	tests := []struct{ subnet, from, want string }{
		{"10.1.0.0/29", "10.1.0.2", "10.1.0.3"},
		{"10.1.0.0/29", "10.1.0.6", "10.1.0.2"}, // not the broadcast
		{"10.1.0.0/30", "10.1.0.2", "10.1.0.2"},
		{"fd00::/126", "fd00::2", "fd00::3"},
		{"fd00::/126", "fd00::3", "fd00::2"},
		{"fd00::/64", "fd00::ffff", "fd00::1:0"},
	}
	for _, tt := range tests {
		if got := after(netip.MustParsePrefix(tt.subnet), netip.MustParseAddr(tt.from)); got.String() != tt.want {
			t.Errorf("%s after %s: %s, want %s", tt.subnet, tt.from, got, tt.want)
		}
	}
}

func TestHostNames(t *testing.T) {
	seen := make(map[string]attachment)
	for i := range 100000 {
		at := attachment{fmt.Sprintf("%064x", i), "eth0"}
		name := at.hostName()
		if len(name) != 15 || !strings.HasPrefix(name, vethPrefix) {
			t.Fatalf("name %q", name)
		}
		if other, ok := seen[name]; ok {
			t.Fatalf("%v and %v are both %s", at, other, name)
		}
		seen[name] = at
	}
	if a, b := (attachment{"a", "eth0"}), (attachment{"a", "eth1"}); a.hostName() == b.hostName() {
		t.Error("the interface does not count")
	}
}

func TestElements(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")
	tests := []struct {
		hostIP string
		want   string // map and key length of each element
	}{
		{"", "ports4:8 ports6:8"},
		{"0.0.0.0", "ports4:8"},
		{"::", "ports6:8"},
		{"192.0.2.1", "ports4_ip:12"},
		{"::ffff:192.0.2.1", "ports4_ip:12"},
		{"2001:db8::1", "ports6_ip:24"},
	}
	for _, tt := range tests {
		var got []string
		for _, e := range elements([]PortMapping{{8080, 80, "tcp", tt.hostIP}}, []netip.Addr{v4, v6}) {
			got = append(got, fmt.Sprintf("%s:%d", portMapNames[e.in], len(e.key)))
			if a := target(e.val); a != v4 && a != v6 {
				t.Errorf("%q: target %v", tt.hostIP, a)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: %s, want %s", tt.hostIP, s, tt.want)
		}
	}
	if a := target(nil); a.IsValid() {
		t.Errorf("target of nothing: %v", a)
	}
}

// FuzzParseConfig: whatever is on stdin, the plugin answers.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"name":"n","subnets":["10.1.0.0/24"],"prevResult":{"ips":[{"address":"10.1.0.2/24"}]}}`))
	f.Fuzz(func(t *testing.T, stdin []byte) {
		c, err := parseConfig(stdin)
		if err != nil {
			return
		}
		c.previous()
		c.validatePorts()
		byFamily(c.Subnets)
	})
}
