package config

// DefaultPath is where the configuration is looked for; there may be none.
const DefaultPath = "/etc/tare/config.toml"

// Config is the whole configuration. The json names are those of the file, as a verbose CRI
// Status shows them.
type Config struct {
	CNI       CNI       `toml:"cni" json:"cni"`
	Registry  Registry  `toml:"registry" json:"registry"`
	Cgroup    Cgroup    `toml:"cgroup" json:"cgroup"`
	Images    Images    `toml:"images" json:"images"`
	Container Container `toml:"container" json:"container"`
	CDI       CDI       `toml:"cdi" json:"cdi"`
	Security  Security  `toml:"security" json:"security"`
	Streaming Streaming `toml:"streaming" json:"streaming"`
	Log       Log       `toml:"log" json:"log"`
}

// CNI is about the pod network.
type CNI struct {
	// ConfDir holds CNI configurations; the first by name wins. Without any, pods get the
	// embedded network.
	ConfDir string `toml:"conf_dir" json:"conf_dir"`
	// BinDirs hold plugins, the first directory that has one wins.
	BinDirs []string `toml:"bin_dirs" json:"bin_dirs"`
	// Bridge is the name of the embedded network's bridge. Daemons side by side need
	// different ones.
	Bridge string `toml:"bridge" json:"bridge"`
	// Subnets are the embedded network's until the kubelet names the pod CIDR, at most one
	// per address family. Empty: 10.88.0.0/16, and a ULA where the host speaks IPv6.
	Subnets []string `toml:"subnets" json:"subnets"`
	// NetNSDir is where pods' network namespaces are bound, for CNI plugins and ip(8).
	NetNSDir string `toml:"netns_dir" json:"netns_dir"`
	// Timeout bounds one run of a plugin, which is killed then. 0: a minute, so that a call
	// that fails by it, and the DEL after it, fit into the kubelet's four minutes.
	Timeout Duration `toml:"timeout" json:"timeout"`
}

// Registry is about where images come from.
type Registry struct {
	// ConfigPath is the directory of <host>/hosts.toml files: mirrors, TLS, headers. The
	// default is containerd's, because that is where the tools that set up nodes and mirrors
	// write, and a node that changes its runtime keeps them.
	ConfigPath string `toml:"config_path" json:"config_path"`
	// AuthFile holds credentials for pulls that bring none, in the form that docker login writes, by
	// host or by host and beginning of the repository; the host is the one that is asked, which
	// may be a mirror. Only root may have access to the file, which is read anew for every such
	// pull. Empty: none.
	AuthFile string `toml:"auth_file" json:"auth_file"`
	// StallTimeout is how long a registry may send nothing before a pull fails. 0: a minute.
	StallTimeout Duration `toml:"stall_timeout" json:"stall_timeout"`
}

// Cgroup is about control groups.
type Cgroup struct {
	// Driver says who makes them: "cgroupfs", "systemd", or "auto" for what suits the host. The
	// kubelet asks and follows.
	Driver string `toml:"driver" json:"driver"`
	// Root is the parent of pods whose request names none. Empty: /tare with cgroupfs,
	// system.slice with systemd.
	Root string `toml:"root" json:"root"`
}

// Images is about the image store.
type Images struct {
	// Pinned are references whose images the kubelet is told never to collect. "*" in them is any
	// text: "registry.k8s.io/pause:*".
	Pinned []string `toml:"pinned" json:"pinned"`
	// VerifierDir holds programs that judge each image before it is pulled, containerd's image
	// verifier plugins. Without the directory named here nothing is pulled. Empty:
	// /opt/containerd/image-verifier/bin, if it exists.
	VerifierDir string `toml:"verifier_dir" json:"verifier_dir"`
}

// Container is about what containers get.
type Container struct {
	// DeviceOwnershipFromSecurityContext makes the devices of a container belong to the user and group
	// that its security context names, so that they can be used without being root or in the device's group.
	DeviceOwnershipFromSecurityContext bool `toml:"device_ownership_from_security_context" json:"device_ownership_from_security_context"`
}

// CDI is about devices that the host describes, the Container Device Interface.
type CDI struct {
	// SpecDirs hold the descriptions, *.json and *.yaml; a later directory's devices replace those of
	// an earlier one. They are read when a container asks for such a device.
	SpecDirs []string `toml:"spec_dirs" json:"spec_dirs"`
}

// Security is about what confines containers beside the request.
type Security struct {
	// SELinux says whether pods get labels: "auto", where the host has SELinux, or "off".
	SELinux string `toml:"selinux" json:"selinux"`
}

// Streaming is about the server of exec, attach and port-forward sessions, to which the kubelet
// connects.
type Streaming struct {
	// Address is where it listens, an IP address. There is no TLS: keep it on the loopback.
	Address string `toml:"address" json:"address"`
	// Port is a TCP port. 0: any that is free.
	Port uint16 `toml:"port" json:"port"`
}

// Log is about the daemon's own log, on its standard error.
type Log struct {
	// Level is "debug", "info", "warn" or "error".
	Level string `toml:"level" json:"level"`
}

// Default returns the configuration of a node without a file.
func Default() Config {
	return Config{
		CNI: CNI{
			ConfDir:  "/etc/cni/net.d",
			BinDirs:  []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"},
			Bridge:   "tare0",
			NetNSDir: "/var/run/netns",
		},
		Registry:  Registry{ConfigPath: "/etc/containerd/certs.d"},
		Cgroup:    Cgroup{Driver: "auto"},
		CDI:       CDI{SpecDirs: []string{"/etc/cdi", "/var/run/cdi"}},
		Security:  Security{SELinux: "auto"},
		Streaming: Streaming{Address: "127.0.0.1"},
		Log:       Log{Level: "info"},
	}
}
