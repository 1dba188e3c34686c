package config

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// maxInterfaceName is IFNAMSIZ without the terminating zero, netdevice(7).
const maxInterfaceName = 15

// check finds values that cannot be, so that the daemon says so at its start and not at the
// first pod.
func (c *Config) check() []problem {
	return problems(
		directories("cni.conf_dir", []string{c.CNI.ConfDir}),
		directories("cni.bin_dirs", c.CNI.BinDirs),
		directories("cni.netns_dir", []string{c.CNI.NetNSDir}),
		interfaceName("cni.bridge", c.CNI.Bridge),
		subnets("cni.subnets", c.CNI.Subnets),
		absolute("registry.config_path", c.Registry.ConfigPath),
		absolute("registry.auth_file", c.Registry.AuthFile),
		pinned("images.pinned", c.Images.Pinned),
		absolute("images.verifier_dir", c.Images.VerifierDir),
		absolute("images.decryption_keys_dir", c.Images.DecryptionKeysDir),
		oneOf("cgroup.driver", c.Cgroup.Driver, "auto", "cgroupfs", "systemd"),
		cgroupRoot("cgroup.root", c.Cgroup),
		directories("cdi.spec_dirs", c.CDI.SpecDirs),
		directories("hooks.dirs", c.Hooks.Dirs),
		anyOf("nri.reject", c.NRI.Reject, "hooks", "namespaces", "sysctls", "seccomp"),
		oneOf("security.selinux", c.Security.SELinux, "auto", "off"),
		address("streaming.address", c.Streaming.Address),
		level("log.level", c.Log.Level),
		collector("tracing.endpoint", c.Tracing.Endpoint),
		ratio("tracing.sampling_ratio", c.Tracing.SamplingRatio),
		absolute("nri.socket_path", c.NRI.SocketPath),
		absolute("nri.plugin_path", c.NRI.PluginPath),
		absolute("nri.plugin_config_path", c.NRI.PluginConfigPath),
		count("tracing.keep", c.Tracing.Keep, maxKept),
		handlers("handlers", c.Handlers),
	)
}

// handlerName is what a RuntimeClass can name: a DNS label (node.k8s.io/v1, RuntimeClass.handler).
var handlerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// builtIn are the names of the handlers that need no configuration.
var builtIn = []string{"tare", "isolated"}

// handlers demands of each handler a name that is free, and a program.
func handlers(key string, all map[string]Handler) *problem {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		key, h := key+"."+name, all[name]
		switch {
		case !handlerName.MatchString(name):
			return wrong(key, "%q is not a handler's name: 1 to 63 lower case letters, digits and '-'", name)
		case slices.Contains(builtIn, name):
			return wrong(key, "%q is a built-in handler", name)
		case h.Binary == "":
			return wrong(key+".binary", "the path of an OCI runtime is missing")
		}
		if p := absolute(key+".binary", h.Binary); p != nil {
			return p
		}
		if p := absolute(key+".root", h.Root); p != nil {
			return p
		}
	}
	return nil
}

// problem is a value that cannot be.
type problem struct {
	key  string
	what string
}

// Error names the key first.
func (p problem) Error() string { return p.key + ": " + p.what }

// problems drops those that are none.
func problems(of ...*problem) (found []problem) {
	for _, p := range of {
		if p != nil {
			found = append(found, *p)
		}
	}
	return found
}

func wrong(key, format string, args ...any) *problem {
	return &problem{key, fmt.Sprintf(format, args...)}
}

// absolute demands absolute paths; an empty one stands for none.
func absolute(key string, paths ...string) *problem {
	for _, p := range paths {
		if p != "" && !filepath.IsAbs(p) {
			return wrong(key, "%q is not an absolute path", p)
		}
	}
	return nil
}

// directories demands absolute paths, each.
func directories(key string, paths []string) *problem {
	if slices.Contains(paths, "") {
		return wrong(key, "an empty path names no directory")
	}
	return absolute(key, paths...)
}

func interfaceName(key, name string) *problem {
	if name == "" || len(name) > maxInterfaceName || strings.ContainsFunc(name, notInName) {
		return wrong(key, "%q is not an interface name: 1 to %d printable ASCII characters without '/', ':', '%%', '.' and space", name, maxInterfaceName)
	}
	if name == "lo" {
		return wrong(key, "%q is every host's loopback interface", name)
	}
	return nil
}

// pinned demands references of images, or patterns.
func pinned(key string, entries []string) *problem {
	for _, e := range entries {
		if _, err := reference.ParseDockerRef(e); err != nil && !strings.Contains(e, "*") {
			return wrong(key, "%q is no image reference, nor a pattern with \"*\": %v", e, err)
		}
	}
	return nil
}

// notInName tells characters that no bridge's name has: the kernel refuses some, makes a number of '%', and sysctl(8)
// takes '.' for '/'.
func notInName(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%.", r) }

// subnets demands networks with room for a gateway and a pod, one for each address family.
func subnets(key string, cidrs []string) *problem {
	families := map[bool]string{}
	for _, s := range cidrs {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return wrong(key, "%q is not a subnet such as 10.88.0.0/16", s)
		case p != p.Masked():
			return wrong(key, "%q has host bits set: %s is meant", s, p.Masked())
		case p.Addr().BitLen()-p.Bits() < 2:
			return wrong(key, "%q has no room for a gateway and a pod", s)
		case p.Addr().Is4In6(), p.Addr().IsMulticast(), p.Addr().IsLoopback(), p.Bits() < 8:
			return wrong(key, "%q is not usable for pods", s)
		case families[p.Addr().Is4()] != "":
			return wrong(key, "%q is a second subnet of the address family of %q", s, families[p.Addr().Is4()])
		}
		families[p.Addr().Is4()] = s
	}
	return nil
}

// cgroupRoot demands what could be a parent of cgroups: the path of a directory with cgroupfs, a slice with systemd.
// Which of the two the driver wants, is known when there is one.
func cgroupRoot(key string, c Cgroup) *problem {
	slice := strings.HasSuffix(c.Root, ".slice")
	switch {
	case c.Root == "":
		return nil
	case c.Driver == "systemd" && !slice:
		return wrong(key, "%q is not a slice, but cgroup.driver is systemd", c.Root)
	case c.Driver == "cgroupfs" && slice:
		return wrong(key, "%q is a slice, but cgroup.driver is cgroupfs", c.Root)
	case !slice && !filepath.IsAbs(c.Root):
		return wrong(key, "%q is neither an absolute path, for cgroupfs, nor a slice, for systemd", c.Root)
	case slices.ContainsFunc(strings.Split(c.Root, "/"), func(name string) bool { return name == "." || name == ".." }):
		return wrong(key, "%q has %q or %q in it", c.Root, ".", "..")
	}
	return nil
}

func address(key, ip string) *problem {
	if _, err := netip.ParseAddr(ip); err != nil {
		return wrong(key, "%q is not an IP address", ip)
	}
	return nil
}

// anyOf demands known words.
func anyOf(key string, values []string, known ...string) *problem {
	for _, v := range values {
		if p := oneOf(key, v, known...); p != nil {
			return p
		}
	}
	return nil
}

func oneOf(key, value string, choices ...string) *problem {
	if !slices.Contains(choices, value) {
		return wrong(key, "%q is not one of %s", value, strings.Join(choices, ", "))
	}
	return nil
}

func level(key, value string) *problem {
	var l slog.Level
	if err := l.UnmarshalText([]byte(value)); err != nil {
		return wrong(key, "%q is not one of debug, info, warn, error", value)
	}
	return nil
}

// collector demands an endpoint somebody could be at; an empty one stands for none.
func collector(key, endpoint string) *problem {
	if endpoint == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(endpoint)
	if n, _ := strconv.ParseUint(port, 10, 16); err != nil || host == "" || n == 0 {
		return wrong(key, "%q is not HOST:PORT, a port being a number up to 65535", endpoint)
	}
	return nil
}

func ratio(key string, of float64) *problem {
	if !(of >= 0 && of <= 1) {
		return wrong(key, "%v is not between 0 and 1", of)
	}
	return nil
}

// maxKept bounds the recorded RPCs in memory, a few kilobytes each.
const maxKept = 100_000

func count(key string, n, most int) *problem {
	if n < 0 || n > most {
		return wrong(key, "%d is not between 0 and %d", n, most)
	}
	return nil
}
