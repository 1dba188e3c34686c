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
	Hooks     Hooks     `toml:"hooks" json:"hooks"`
	Security  Security  `toml:"security" json:"security"`
	Streaming Streaming `toml:"streaming" json:"streaming"`
	Log       Log       `toml:"log" json:"log"`
	Tracing   Tracing   `toml:"tracing" json:"tracing"`
	NRI       NRI       `toml:"nri" json:"nri"`
	// Handlers are runtime handlers by name, beside the built-in ones: OCI runtimes.
	Handlers map[string]Handler `toml:"handlers" json:"handlers"`
}

// Handler is an OCI runtime, such as runc, that runs the containers of pods whose RuntimeClass has its name.
type Handler struct {
	// Binary is the path of the program.
	Binary string `toml:"binary" json:"binary"`
	// Root is where it keeps its state; daemons side by side need different ones. Empty: a directory of the
	// handler's name below the daemon's state directory.
	Root string `toml:"root" json:"root"`
	// Args come before the command of each invocation.
	Args []string `toml:"args" json:"args"`
	// Timeout bounds each invocation but those that execute a command in a container. 0: two minutes.
	Timeout Duration `toml:"timeout" json:"timeout"`
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
	// Embedded says whether pods get the embedded network where there is no configuration. If not, the node waits for
	// one: its pods' network is one that is still to come.
	Embedded bool `toml:"embedded" json:"embedded"`
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
	// DecryptionKeysDir holds private keys for encrypted layers, PEM or DER, one a file that only root may
	// read. They are read when such a layer comes. Empty: /etc/containerd/ocicrypt/keys.
	DecryptionKeysDir string `toml:"decryption_keys_dir" json:"decryption_keys_dir"`
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

// Hooks is about programs that the host runs at stages in the life of containers, oci-hooks(5).
type Hooks struct {
	// Dirs hold descriptions, *.json, of hooks and of the containers they are for; a later directory's file replaces
	// the one of the same name in an earlier one. They are read for each container that is created, and one
	// that is not in order fails it.
	Dirs []string `toml:"dirs" json:"dirs"`
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

// Tracing is about records of where the time of an RPC went, as OpenTelemetry spans.
type Tracing struct {
	// Endpoint is a collector, HOST:PORT, spoken to by OTLP over gRPC without TLS. Empty: none.
	Endpoint string `toml:"endpoint" json:"endpoint"`
	// SamplingRatio is how many of the RPCs are recorded, from 0 to 1. Those whose caller records its part, as a
	// kubelet can, are recorded in any case, or not if it decided so.
	SamplingRatio float64 `toml:"sampling_ratio" json:"sampling_ratio"`
	// Keep is how many of the last recorded RPCs are kept for "tare trace". 0: none. Without it and without an
	// endpoint nothing is recorded.
	Keep int `toml:"keep" json:"keep"`
}

// NRI is about plugins that see, and may change, what is run: the Node Resource Interface.
type NRI struct {
	// Enabled has there be plugins.
	Enabled bool `toml:"enabled" json:"enabled"`
	// SocketPath is where plugins connect.
	SocketPath string `toml:"socket_path" json:"socket_path"`
	// DisableConnections lets nobody connect: there are only the plugins in PluginPath.
	DisableConnections bool `toml:"disable_connections" json:"disable_connections"`
	// PluginPath is the directory of plugins that the runtime starts, in the order of their names.
	PluginPath string `toml:"plugin_path" json:"plugin_path"`
	// PluginConfigPath is the directory of their configurations.
	PluginConfigPath string `toml:"plugin_config_path" json:"plugin_config_path"`
	// PluginRegistrationTimeout is how long a plugin may take to say what it is. 0: five seconds.
	PluginRegistrationTimeout Duration `toml:"plugin_registration_timeout" json:"plugin_registration_timeout"`
	// PluginRequestTimeout is how long a plugin may take to answer; then it is let go of. 0: two seconds.
	PluginRequestTimeout Duration `toml:"plugin_request_timeout" json:"plugin_request_timeout"`
	// RequiredPlugins are those without which no container is created.
	RequiredPlugins []string `toml:"required_plugins" json:"required_plugins"`
	// TolerateMissingAnnotation is the key of an annotation with which a pod does without them.
	TolerateMissingAnnotation string `toml:"tolerate_missing_annotation" json:"tolerate_missing_annotation"`
	// Reject refuses containers in which a plugin adjusts one of these: hooks, namespaces, sysctls, seccomp.
	Reject []string `toml:"reject" json:"reject"`
}

// Default returns the configuration of a node without a file.
func Default() Config {
	return Config{
		CNI: CNI{
			ConfDir:  "/etc/cni/net.d",
			BinDirs:  []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"},
			Bridge:   "tare0",
			NetNSDir: "/var/run/netns",
			Embedded: true,
		},
		Registry:  Registry{ConfigPath: "/etc/containerd/certs.d"},
		Cgroup:    Cgroup{Driver: "auto"},
		CDI:       CDI{SpecDirs: []string{"/etc/cdi", "/var/run/cdi"}},
		Hooks:     Hooks{Dirs: []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"}},
		Security:  Security{SELinux: "auto"},
		Streaming: Streaming{Address: "127.0.0.1"},
		Log:       Log{Level: "info"},
		Tracing:   Tracing{SamplingRatio: 1},
		NRI: NRI{
			Enabled: true, SocketPath: "/var/run/nri/nri.sock", PluginPath: "/opt/nri/plugins", PluginConfigPath: "/etc/nri/conf.d",
		},
	}
}
