package spec

import "testing"

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"kernel.shmmax":                       "sys/kernel/shmmax",
		"net.ipv4.conf.eth0/100.rp_filter":    "sys/net/ipv4/conf/eth0.100/rp_filter",
		"net/ipv4/conf/eth0.100/rp_filter":    "sys/net/ipv4/conf/eth0.100/rp_filter",
		"net.ipv4.ip_unprivileged_port_start": "sys/net/ipv4/ip_unprivileged_port_start",
	} {
		name, err := Sysctl(key, "1", &Pod{Namespaces: Namespaces{Network: ModePod, IPC: ModePod}})
		if got := SysctlPath(name); err != nil || got != want {
			t.Errorf("Sysctl(%q) is at %q, %v, want %q", key, got, err, want)
		}
	}
}
