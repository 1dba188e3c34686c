package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// maxInterfaceName is IFNAMSIZ without the terminating zero, netdevice(7).
const maxInterfaceName = 15

// check finds values that cannot be, so that the daemon says so at its start and not at the
// first pod.
func (c *Config) check() error {
	return errors.Join(
		absolute("cni.conf_dir", c.CNI.ConfDir),
		absolute("cni.bin_dirs", c.CNI.BinDirs...),
		absolute("cni.netns_dir", c.CNI.NetNSDir),
		interfaceName("cni.bridge", c.CNI.Bridge),
		subnets("cni.subnets", c.CNI.Subnets),
		absolute("registry.config_path", c.Registry.ConfigPath),
		absolute("registry.auth_file", c.Registry.AuthFile),
		absolute("images.verifier_dir", c.Images.VerifierDir),
		oneOf("cgroup.driver", c.Cgroup.Driver, "auto", "cgroupfs", "systemd"),
		directories("cdi.spec_dirs", c.CDI.SpecDirs),
		oneOf("security.selinux", c.Security.SELinux, "auto", "off"),
		address("streaming.address", c.Streaming.Address),
		level("log.level", c.Log.Level),
	)
}

// absolute demands absolute paths; an empty one stands for none.
func absolute(key string, paths ...string) error {
	for _, p := range paths {
		if p != "" && !filepath.IsAbs(p) {
			return fmt.Errorf("%s: %q is not an absolute path", key, p)
		}
	}
	return nil
}

// directories demands absolute paths, each.
func directories(key string, paths []string) error {
	if slices.Contains(paths, "") {
		return fmt.Errorf("%s: an empty path names no directory", key)
	}
	return absolute(key, paths...)
}

func interfaceName(key, name string) error {
	if name == "" || len(name) > maxInterfaceName || strings.ContainsAny(name, "/: \t\n") {
		return fmt.Errorf("%s: %q is not an interface name: 1 to %d characters without '/', ':' and space", key, name, maxInterfaceName)
	}
	return nil
}

func subnets(key string, cidrs []string) error {
	for _, s := range cidrs {
		if _, err := netip.ParsePrefix(s); err != nil {
			return fmt.Errorf("%s: %q is not a subnet such as 10.88.0.0/16", key, s)
		}
	}
	return nil
}

func address(key, ip string) error {
	if _, err := netip.ParseAddr(ip); err != nil {
		return fmt.Errorf("%s: %q is not an IP address", key, ip)
	}
	return nil
}

func oneOf(key, value string, choices ...string) error {
	if !slices.Contains(choices, value) {
		return fmt.Errorf("%s: %q is not one of %s", key, value, strings.Join(choices, ", "))
	}
	return nil
}

func level(key, value string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(value)); err != nil {
		return fmt.Errorf("%s: %q is not one of debug, info, warn, error", key, value)
	}
	return nil
}
