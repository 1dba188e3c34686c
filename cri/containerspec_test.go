//lint:file-ignore SA1019 the deprecated fields are still sent

package cri

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

func containerConfig() *runtime.ContainerConfig {
	return &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: "main", Attempt: 1},
		Image:    &runtime.ImageSpec{Image: "sha256:abc", UserSpecifiedImage: "busybox:1"},
		Linux: &runtime.LinuxContainerConfig{
			Resources:       &runtime.LinuxContainerResources{},
			SecurityContext: &runtime.LinuxContainerSecurityContext{},
		},
	}
}

// podRecord is a pod with a container that has a PID namespace of its own and one that has not.
func podRecord(ns spec.Namespaces) *store.Pod {
	own := &store.Container{ID: "own", Pod: "p"}
	own.Spec.Security.Namespaces.PID = spec.ModeContainer
	return &store.Pod{
		ID: "p", Spec: spec.Pod{Namespaces: ns},
		Containers: map[spec.ContainerID]*store.Container{"own": own, "shared": {ID: "shared", Pod: "p"}},
	}
}

// fullContainerConfig says something about almost everything.
func fullContainerConfig() *runtime.ContainerConfig {
	ids := []*runtime.IDMapping{{HostId: 65536, Length: 10}}
	cfg := containerConfig()
	cfg.Command, cfg.Args, cfg.WorkingDir = []string{"sh", "-c"}, []string{""}, "/srv"
	cfg.Envs = []*runtime.KeyValue{{Key: "A", Value: []byte("\xff=")}, {Key: "B"}}
	cfg.Mounts = []*runtime.Mount{
		{ContainerPath: "/data/", HostPath: "/srv/../data", Readonly: true, RecursiveReadOnly: true, SelinuxRelabel: true, UidMappings: ids, GidMappings: ids},
		{ContainerPath: "/img", Readonly: true, Image: &runtime.ImageSpec{Image: "sha256:def", UserSpecifiedImage: "vol:1"}, ImageSubPath: "a/b"},
		{ContainerPath: "/dev2", HostPath: "/dev", Propagation: runtime.MountPropagation_PROPAGATION_BIDIRECTIONAL, MountOptions: []string{"noexec", "nosuid", "nodev"}},
		{ContainerPath: "/sub", HostPath: "/host/a", ImageSubPath: "a"},
	}
	cfg.Devices = []*runtime.Device{{HostPath: "/dev/fuse", ContainerPath: "/dev/fuse", Permissions: "mrw"}}
	cfg.CDIDevices = []*runtime.CDIDevice{{Name: "vendor.com/gpu=gpudevice1"}}
	cfg.Labels, cfg.Annotations = map[string]string{"a": "b"}, map[string]string{
		"c": "d", "cdi.k8s.io/z": "vendor.com/net=eth0", "cdi.k8s.io/a": "vendor.com/gpu=gpudevice1,vendor.com/gpu=1",
	}
	cfg.LogPath, cfg.Stdin, cfg.StdinOnce, cfg.Tty = "main/0.log", true, true, true
	cfg.StopSignal = runtime.Signal_SIGNAL_SIGRTMINPLUS3
	cfg.Linux.Resources = &runtime.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: -1, CpuShares: 1024, CpusetCpus: "0-1,3", CpusetMems: "0",
		MemoryLimitInBytes: 1 << 20, MemorySwapLimitInBytes: 2 << 20, OomScoreAdj: -998,
		HugepageLimits: []*runtime.HugepageLimit{{PageSize: "2MB", Limit: 4}}, Unified: map[string]string{"memory.high": "max"},
	}
	cfg.Linux.SecurityContext = &runtime.LinuxContainerSecurityContext{
		Capabilities: &runtime.Capability{
			AddCapabilities: []string{"net_admin", "CAP_SYS_TIME"}, DropCapabilities: []string{"all"}, AddAmbientCapabilities: []string{"CHOWN"},
		},
		RunAsUser: &runtime.Int64Value{Value: 0}, RunAsGroup: &runtime.Int64Value{Value: 7}, SupplementalGroups: []int64{5},
		SupplementalGroupsPolicy: runtime.SupplementalGroupsPolicy_Strict, NoNewPrivs: true, ReadonlyRootfs: true,
		MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
		Seccomp:        &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: "/etc/p.json"},
		Apparmor:       &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: "localhost/strict"},
		SelinuxOptions: &runtime.SELinuxOption{User: "u", Role: "r", Type: "t", Level: "s0"},
		NamespaceOptions: &runtime.NamespaceOption{
			Pid: runtime.NamespaceMode_TARGET, TargetId: "own", UsernsOptions: &runtime.UserNamespace{Uids: ids, Gids: ids},
		},
	}
	return cfg
}

func TestContainerSpec(t *testing.T) {
	cfg := fullContainerConfig()
	idMap := spec.IDMap{Host: 65536, Length: 10}
	user := &spec.UserNamespace{UID: idMap, GID: idMap}
	got, err := containerSpec(cfg, podRecord(spec.Namespaces{User: user}))
	if err != nil {
		t.Fatal(err)
	}
	root, group := uint32(0), uint32(7)
	idmap := []spec.IDMap{idMap}
	want := &spec.Container{
		Name: "main", Attempt: 1, Image: "sha256:abc", UserImage: "busybox:1",
		Command: []string{"sh", "-c"}, Args: []string{""}, WorkingDir: "/srv",
		Env: []spec.EnvVar{{Name: "A", Value: "\xff="}, {Name: "B"}},
		Mounts: []spec.Mount{
			{ContainerPath: "/data/", HostPath: "/srv/../data", Readonly: true, RecursiveReadonly: true, SELinuxRelabel: true, UID: idmap, GID: idmap},
			{ContainerPath: "/img", Image: "sha256:def", UserImage: "vol:1", ImageSubPath: "a/b", Readonly: true},
			{ContainerPath: "/dev2", HostPath: "/dev", Propagation: spec.PropagateBidirectional, NoExec: true, NoDev: true, NoSUID: true},
			{ContainerPath: "/sub", HostPath: "/host/a", ImageSubPath: "a"},
		},
		Devices:    []spec.Device{{HostPath: "/dev/fuse", ContainerPath: "/dev/fuse", Permissions: "mrw"}},
		CDIDevices: []string{"vendor.com/gpu=gpudevice1", "vendor.com/gpu=1", "vendor.com/net=eth0"},
		Labels:     cfg.Labels, Annotations: cfg.Annotations,
		LogPath: "main/0.log", Stdin: true, StdinOnce: true, TTY: true, StopSignal: unix.Signal(37),
		Resources: &spec.Resources{
			CPUPeriod: 100000, CPUQuota: -1, CPUShares: 1024, CpusetCpus: "0-1,3", CpusetMems: "0", Memory: 1 << 20, MemorySwap: 2 << 20,
			OOMScoreAdj: -998, Hugepages: []spec.Hugepage{{PageSize: "2MB", Limit: 4}}, Unified: map[string]string{"memory.high": "max"},
		},
		Security: spec.Security{
			User: spec.User{UID: &root, GID: &group}, SupplementalGroups: []uint32{5}, StrictGroups: true,
			Namespaces: spec.Namespaces{PID: spec.ModeTarget, Target: "own", User: user}, ReadonlyRootfs: true, NoNewPrivs: true,
			AddCaps: []string{"CAP_NET_ADMIN", "CAP_SYS_TIME"}, DropCaps: []string{"ALL"}, AmbientCaps: []string{"CAP_CHOWN"},
			MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
			Seccomp:  spec.Profile{Kind: spec.ProfileLocalhost, Name: "/etc/p.json"},
			AppArmor: spec.Profile{Kind: spec.ProfileLocalhost, Name: "strict"}, SELinux: "u:r:t:s0",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("spec\n got %+v\nwant %+v", got, want)
	}
	if back := wireResources(got.Resources); back.String() != cfg.Linux.Resources.String() {
		t.Errorf("resources\n got %v\nwant %v", back, cfg.Linux.Resources)
	}
	cfg.Mounts[1].Image.ImageRef = "sha256:resolved"
	for i, back := range wireMounts(got.Mounts, []spec.ImageID{"sha256:resolved"}) {
		cfg.Mounts[i].MountOptions = nil
		if i == 2 {
			cfg.Mounts[i].MountOptions = []string{"noexec", "nodev", "nosuid"}
		}
		if back.String() != cfg.Mounts[i].String() {
			t.Errorf("mount\n got %v\nwant %v", back, cfg.Mounts[i])
		}
	}
}

// A container that says nothing of namespaces has its pod's.
func TestContainerInheritsNamespaces(t *testing.T) {
	ns := spec.Namespaces{Network: spec.ModeNode, PID: spec.ModeContainer, User: &spec.UserNamespace{}}
	cfg := containerConfig()
	cfg.Linux = nil
	c, err := containerSpec(cfg, podRecord(ns))
	if err != nil || c.Security.Namespaces != ns {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestDeprecatedProfiles(t *testing.T) {
	for text, want := range map[string]spec.Profile{
		"":                  {},
		"runtime/default":   {Kind: spec.ProfileRuntimeDefault},
		"unconfined":        {Kind: spec.ProfileUnconfined},
		"localhost//p.json": {Kind: spec.ProfileLocalhost, Name: "/p.json"},
	} {
		if got, err := seccomp(nil, text, "sc"); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		// The new field wins.
		newer := &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
		if got, err := apparmor(newer, text, "sc"); err != nil || got.Kind != spec.ProfileUnconfined {
			t.Errorf("%q beside the new field: %+v, %v", text, got, err)
		}
	}
}

func TestSignals(t *testing.T) {
	for n := range runtime.Signal_name {
		wire := runtime.Signal(n)
		s, err := signal(wire, "stop_signal")
		if err != nil {
			t.Errorf("%s: %v", wire, err)
			continue
		}
		if alias, ok := aliases[wire]; ok {
			wire = alias
		}
		if back := wireSignal(s); back != wire {
			t.Errorf("%s is %d, which is %s", wire, s, back)
		}
	}
	for wire, want := range map[runtime.Signal]unix.Signal{
		runtime.Signal_SIGNAL_SIGRTMIN: 34, runtime.Signal_SIGNAL_SIGRTMINPLUS15: 49,
		runtime.Signal_SIGNAL_SIGRTMAXMINUS14: 50, runtime.Signal_SIGNAL_SIGRTMAX: 64,
	} {
		if got, _ := signal(wire, ""); got != want {
			t.Errorf("%s is %d, want %d", wire, got, want)
		}
	}
}

func TestContainerSpecRefuses(t *testing.T) {
	type cfg = runtime.ContainerConfig
	const sc, ns = "linux.security_context", "linux.security_context.namespace_options"
	security := func(s *runtime.LinuxContainerSecurityContext) func(*cfg) {
		return func(c *cfg) { c.Linux.SecurityContext = s }
	}
	namespace := func(o *runtime.NamespaceOption) func(*cfg) {
		return security(&runtime.LinuxContainerSecurityContext{NamespaceOptions: o})
	}
	res := func(r *runtime.LinuxContainerResources) func(*cfg) { return func(c *cfg) { c.Linux.Resources = r } }
	mount := func(m *runtime.Mount) func(*cfg) {
		return func(c *cfg) {
			if m.ContainerPath == "" {
				m.ContainerPath = "/c"
			}
			c.Mounts = []*runtime.Mount{m}
		}
	}
	device := func(d *runtime.Device) func(*cfg) { return func(c *cfg) { c.Devices = []*runtime.Device{d} } }
	one := []*runtime.IDMapping{{Length: 1}}
	tests := []struct {
		name   string
		change func(*cfg)
		want   string
	}{
		{"no metadata", func(c *cfg) { c.Metadata = nil }, "metadata: must not be empty"},
		{"no name", func(c *cfg) { c.Metadata.Name = "" }, "metadata.name: must not be empty"},
		{"no image", func(c *cfg) { c.Image = nil }, "image.image: must not be empty"},
		{"windows", func(c *cfg) { c.Windows = &runtime.WindowsContainerConfig{} }, "windows: "},
		{"log path climbs", func(c *cfg) { c.LogPath = "a/../../b" }, `log_path: "a/../../b"`},
		{"absolute log path", func(c *cfg) { c.LogPath = "/etc/passwd" }, "log_path: "},
		{"log path is a directory", func(c *cfg) { c.LogPath = "a/" }, `log_path: "a/" is a directory`},
		{"log path is the log directory", func(c *cfg) { c.LogPath = "a/.." }, `log_path: "a/.." is a directory`},
		{"NUL in args", func(c *cfg) { c.Args = []string{"a", "b\x00"} }, "args[1]: contains a NUL byte"},
		{"relative working dir", func(c *cfg) { c.WorkingDir = "srv" }, "working_dir: "},
		{"env without name", func(c *cfg) { c.Envs = []*runtime.KeyValue{nil} }, "envs[0].key: "},
		{"env name with =", func(c *cfg) { c.Envs = []*runtime.KeyValue{{Key: "A=B"}} }, "envs[0].key: "},
		{"stop signal", func(c *cfg) { c.StopSignal = 99 }, "stop_signal: 99 is not known"},

		{"mount nil", func(c *cfg) { c.Mounts = []*runtime.Mount{nil} }, "mounts[0]: must not be empty"},
		{"mount target", mount(&runtime.Mount{ContainerPath: "c", HostPath: "/h"}), "mounts[0].container_path: "},
		{"mount without source", mount(&runtime.Mount{}), "mounts[0].host_path: must not be empty"},
		{"mount of relative path", mount(&runtime.Mount{HostPath: "h"}), "mounts[0].host_path: "},
		{"mount of two sources", mount(&runtime.Mount{HostPath: "/h", Image: &runtime.ImageSpec{Image: "a"}}), "mounts[0].host_path: cannot go with image"},
		{"writable image", mount(&runtime.Mount{Image: &runtime.ImageSpec{Image: "a"}}), "mounts[0].readonly: must be true"},
		{"shared image", mount(&runtime.Mount{Readonly: true, Image: &runtime.ImageSpec{Image: "a"}, Propagation: 1}), "mounts[0].propagation: cannot go with image"},
		{"mount option twice", mount(&runtime.Mount{HostPath: "/h", MountOptions: []string{"nodev", "nodev"}}), `mounts[0].mount_options[1]: "nodev" is given twice`},
		{"sub-path climbs", mount(&runtime.Mount{Readonly: true, Image: &runtime.ImageSpec{Image: "a"}, ImageSubPath: "../x"}), "mounts[0].image_sub_path: "},
		{"propagation", mount(&runtime.Mount{HostPath: "/h", Propagation: 5}), "mounts[0].propagation: 5"},
		{"rro writable", mount(&runtime.Mount{HostPath: "/h", RecursiveReadOnly: true}), "mounts[0].recursive_read_only: needs readonly"},
		{"rro slave", mount(&runtime.Mount{HostPath: "/h", Readonly: true, RecursiveReadOnly: true, Propagation: 1}), "mounts[0].recursive_read_only: needs propagation PROPAGATION_PRIVATE"},
		{"rro shared", mount(&runtime.Mount{HostPath: "/h", Readonly: true, RecursiveReadOnly: true, Propagation: 2}), "mounts[0].recursive_read_only: needs propagation"},
		{"half a mapping", mount(&runtime.Mount{HostPath: "/h", UidMappings: one}), "mounts[0]: uidMappings and gidMappings go together"},
		{"empty mapping", mount(&runtime.Mount{HostPath: "/h", UidMappings: one, GidMappings: []*runtime.IDMapping{{}}}), "mounts[0].gidMappings[0].length: "},
		{"mount option", mount(&runtime.Mount{HostPath: "/h", MountOptions: []string{"nodev", "suid"}}), `mounts[0].mount_options[1]: "suid" is not supported`},

		{"device path", device(&runtime.Device{HostPath: "fuse"}), "devices[0].host_path: "},
		{"device target", device(&runtime.Device{HostPath: "/dev/fuse"}), "devices[0].container_path: "},
		{"device permissions", device(&runtime.Device{HostPath: "/d", ContainerPath: "/d", Permissions: "rx"}), `devices[0].permissions: "rx"`},
		{"device permission twice", device(&runtime.Device{HostPath: "/d", ContainerPath: "/d", Permissions: "rr"}), "devices[0].permissions: "},
		{"no device permissions", device(&runtime.Device{HostPath: "/d", ContainerPath: "/d"}), "devices[0].permissions: "},
		{"CDI name", func(c *cfg) { c.CDIDevices = []*runtime.CDIDevice{{Name: "gpu0"}} }, "CDI_devices[0].name: "},
		{"CDI annotation", func(c *cfg) { c.Annotations = map[string]string{"cdi.k8s.io/x": "a.b/c=d,"} }, `annotations["cdi.k8s.io/x"]: "" is not of the form vendor/class=device`},

		{"cpu period", res(&runtime.LinuxContainerResources{CpuPeriod: 999}), "linux.resources.cpu_period: 999"},
		{"cpu quota", res(&runtime.LinuxContainerResources{CpuQuota: 999}), "linux.resources.cpu_quota: 999"},
		{"cpu shares", res(&runtime.LinuxContainerResources{CpuShares: 1}), "linux.resources.cpu_shares: 1"},
		{"cpuset", res(&runtime.LinuxContainerResources{CpusetCpus: "0-"}), "linux.resources.cpuset_cpus: "},
		{"cpuset mems", res(&runtime.LinuxContainerResources{CpusetMems: "all"}), "linux.resources.cpuset_mems: "},
		{"memory", res(&runtime.LinuxContainerResources{MemoryLimitInBytes: -2}), "linux.resources.memory_limit_in_bytes: -2"},
		{"swap", res(&runtime.LinuxContainerResources{MemorySwapLimitInBytes: -2}), "linux.resources.memory_swap_limit_in_bytes: -2"},
		{"swap alone", res(&runtime.LinuxContainerResources{MemorySwapLimitInBytes: 1}), "linux.resources.memory_swap_limit_in_bytes: needs"},
		{"swap below memory", res(&runtime.LinuxContainerResources{MemoryLimitInBytes: 2, MemorySwapLimitInBytes: 1}), "linux.resources.memory_swap_limit_in_bytes: 1 is less"},
		{"oom score", res(&runtime.LinuxContainerResources{OomScoreAdj: 1001}), "linux.resources.oom_score_adj: 1001"},
		{"hugepage size", res(&runtime.LinuxContainerResources{HugepageLimits: []*runtime.HugepageLimit{{PageSize: "2M"}}}), "linux.resources.hugepage_limits[0].page_size: "},
		{"hugepage twice", res(&runtime.LinuxContainerResources{HugepageLimits: []*runtime.HugepageLimit{{PageSize: "2MB"}, {PageSize: "2MB"}}}), "linux.resources.hugepage_limits[1].page_size: 2MB is given twice"},
		{"unified path", res(&runtime.LinuxContainerResources{Unified: map[string]string{"../memory.max": "1"}}), "linux.resources.unified["},
		{"unified name", res(&runtime.LinuxContainerResources{Unified: map[string]string{"tasks": "1"}}), "linux.resources.unified["},

		{"user twice", security(&runtime.LinuxContainerSecurityContext{RunAsUser: &runtime.Int64Value{}, RunAsUsername: "a"}), sc + ".run_as_username: cannot go with run_as_user"},
		{"group alone", security(&runtime.LinuxContainerSecurityContext{RunAsGroup: &runtime.Int64Value{}}), sc + ".run_as_group: needs run_as_user or run_as_username"},
		{"user too large", security(&runtime.LinuxContainerSecurityContext{RunAsUser: &runtime.Int64Value{Value: math.MaxUint32}}), sc + ".run_as_user: "},
		{"group negative", security(&runtime.LinuxContainerSecurityContext{SupplementalGroups: []int64{-1}}), sc + ".supplemental_groups[0]: -1"},
		{"groups policy", security(&runtime.LinuxContainerSecurityContext{SupplementalGroupsPolicy: 2}), sc + ".supplemental_groups_policy: 2"},
		{"capability", security(&runtime.LinuxContainerSecurityContext{Capabilities: &runtime.Capability{DropCapabilities: []string{"FLY"}}}), sc + `.capabilities.drop_capabilities[0]: "FLY"`},
		{"privileged", security(&runtime.LinuxContainerSecurityContext{Privileged: true}), sc + ".privileged: "},
		{"masked path", security(&runtime.LinuxContainerSecurityContext{MaskedPaths: []string{"proc"}}), sc + ".masked_paths[0]: "},
		{"masked root", security(&runtime.LinuxContainerSecurityContext{MaskedPaths: []string{"/x", "/x/.."}}), sc + `.masked_paths[1]: "/x/.." is all`},
		{"readonly path", security(&runtime.LinuxContainerSecurityContext{ReadonlyPaths: []string{""}}), sc + ".readonly_paths[0]: "},
		{"seccomp type", security(&runtime.LinuxContainerSecurityContext{Seccomp: &runtime.SecurityProfile{ProfileType: 8}}), sc + ".seccomp.profile_type: 8"},
		{"seccomp contradicts", security(&runtime.LinuxContainerSecurityContext{Seccomp: &runtime.SecurityProfile{LocalhostRef: "/x"}}), sc + ".seccomp.localhost_ref: needs profile_type Localhost"},
		{"seccomp without file", security(&runtime.LinuxContainerSecurityContext{Seccomp: &runtime.SecurityProfile{ProfileType: 2}}), sc + ".seccomp.localhost_ref: must not be empty"},
		{"deprecated seccomp", security(&runtime.LinuxContainerSecurityContext{SeccompProfilePath: "strange"}), sc + `.seccomp_profile_path: "strange" is not a profile`},
		{"deprecated seccomp path", security(&runtime.LinuxContainerSecurityContext{SeccompProfilePath: "localhost/p.json"}), sc + ".seccomp_profile_path: "},
		{"deprecated apparmor", security(&runtime.LinuxContainerSecurityContext{ApparmorProfile: "localhost/"}), sc + ".apparmor_profile: must not be empty"},
		{"selinux", security(&runtime.LinuxContainerSecurityContext{SelinuxOptions: &runtime.SELinuxOption{Level: "s0\n"}}), sc + ".selinux_options.level: "},

		{"network of its own", namespace(&runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE}), ns + ".network: mode NODE is not the pod sandbox's"},
		{"ipc of its own", namespace(&runtime.NamespaceOption{Ipc: runtime.NamespaceMode_NODE}), ns + ".ipc: mode NODE is not the pod sandbox's"},
		{"the host's PIDs", namespace(&runtime.NamespaceOption{Pid: runtime.NamespaceMode_NODE}), ns + ".pid: mode NODE, but"},
		{"user ns of its own", namespace(&runtime.NamespaceOption{UsernsOptions: &runtime.UserNamespace{Uids: one, Gids: one}}), ns + ".userns_options: is not the pod sandbox's"},
		{"user ns CONTAINER", namespace(&runtime.NamespaceOption{UsernsOptions: &runtime.UserNamespace{Mode: runtime.NamespaceMode_CONTAINER}}), ns + ".userns_options: mode CONTAINER is not supported"},
		{"no target", namespace(&runtime.NamespaceOption{Pid: runtime.NamespaceMode_TARGET}), ns + ".target_id: must not be empty"},
		{"unknown target", namespace(&runtime.NamespaceOption{Pid: runtime.NamespaceMode_TARGET, TargetId: "x"}), ns + `.target_id: container "x" is not in the pod sandbox`},
		{"shared target", namespace(&runtime.NamespaceOption{Pid: runtime.NamespaceMode_TARGET, TargetId: "shared"}), ns + `.target_id: container "shared" has no PID`},
		{"target without mode", namespace(&runtime.NamespaceOption{TargetId: "own"}), ns + ".target_id: needs pid mode TARGET"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := containerConfig()
			tt.change(cfg)
			_, err := containerSpec(cfg, podRecord(spec.Namespaces{}))
			wantInvalid(t, err, tt.want)
		})
	}

	ctr := containerConfig()
	namespace(&runtime.NamespaceOption{})(ctr)
	_, err := containerSpec(ctr, podRecord(spec.Namespaces{PID: spec.ModeContainer}))
	wantInvalid(t, err, ns+".pid: mode POD, but the pod sandbox has no PID namespace for all")
	_, err = containerSpec(nil, podRecord(spec.Namespaces{}))
	wantInvalid(t, err, "config: must not be empty")
}

func TestErrorHidesEnvironment(t *testing.T) {
	_, err := environment([]*runtime.KeyValue{{Key: "TOKEN", Value: []byte("hunter2\x00")}}, "envs")
	wantInvalid(t, err, "envs[0].value: contains a NUL byte")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error shows a value: %v", err)
	}
}
