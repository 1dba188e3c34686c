package container

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/sandbox"
	"tare/security"
	"tare/spec"
)

// Request is what a container's specification is made from.
type Request struct {
	ID         spec.ContainerID
	Spec       *spec.Container
	Pod        *spec.Pod
	PodDir     string // host directory of the pod's files
	Image      ocispec.ImageConfig
	User       security.Identity // resolved against the image
	Volumes    []spec.ImageID    // the images that Spec.Mounts name, in their order
	Edits      *DeviceEdits      // of the CDI devices; nil: none
	HookFiles  []HookFile        // of the host, of which some may be for this container
	CgroupPath string
	CgroupV2   bool
	OpenFiles  uint64 // the highest RLIMIT_NOFILE that can be given
	AppArmor   string // name of a loaded profile; empty: none
	SELinux    spec.Labels
	// OwnDevices gives devices to the user and group that the request's security context names.
	OwnDevices bool
}

// softOpenFiles is how many files a process may open that does not ask for more: what programs that
// use select(2) can count on, and what systemd gives its services for that reason. The hard
// limit, up to which a process may raise it by itself, is as high as can be.
const softOpenFiles = 1024

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Assemble makes the container's specification. ErrInvalidArgument where the image and the
// request together give none.
func Assemble(r Request) (*specs.Spec, error) {
	process, err := process(r)
	if err != nil {
		return nil, err
	}
	mounts, err := mounts(r)
	if err != nil {
		return nil, err
	}
	devices, rules, err := devices(r)
	if err != nil {
		return nil, err
	}
	resources := resources(r.Spec.Resources)
	resources.Devices = rules
	masked, readonly := hiddenPaths(r)
	oci := &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: "rootfs", Readonly: r.Spec.Security.ReadonlyRootfs},
		Hostname:    r.Pod.Hostname,
		Mounts:      mounts,
		Annotations: r.Spec.Annotations,
		Linux: &specs.Linux{
			Namespaces:    namespaces(r),
			Resources:     resources,
			CgroupsPath:   r.CgroupPath,
			Devices:       devices,
			MountLabel:    r.SELinux.Mount,
			MaskedPaths:   masked,
			ReadonlyPaths: readonly,
			UIDMappings:   userMappings(r.Pod, false),
			GIDMappings:   userMappings(r.Pod, true),
		},
	}
	if err := edit(oci, r); err != nil {
		return nil, err
	}
	return oci, addHooks(oci, r)
}

func process(r Request) (*specs.Process, error) {
	args, err := Command(r.Spec, r.Image)
	if err != nil {
		return nil, err
	}
	caps, err := security.Capabilities(&r.Spec.Security)
	if err != nil {
		return nil, err
	}
	env, err := environment(r)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        r.Spec.TTY,
		Args:            args,
		Env:             env,
		Cwd:             workingDir(r),
		User:            specs.User{UID: r.User.UID, GID: r.User.GID, AdditionalGids: r.User.Groups},
		Capabilities:    caps,
		NoNewPrivileges: r.Spec.Security.NoNewPrivs,
		ApparmorProfile: r.AppArmor,
		SelinuxLabel:    r.SELinux.Process,
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: r.OpenFiles, Soft: min(softOpenFiles, r.OpenFiles)}},
	}
	if res := r.Spec.Resources; res != nil {
		adj := int(res.OOMScoreAdj)
		p.OOMScoreAdj = &adj
	}
	return p, nil
}

// Command is what the container executes: the request's command replaces the image's
// entrypoint and cmd, the request's arguments replace its cmd (Kubernetes' rule).
func Command(c *spec.Container, img ocispec.ImageConfig) ([]string, error) {
	var args []string
	switch {
	case len(c.Command) > 0:
		args = slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		args = slices.Concat(img.Entrypoint, c.Args)
	default:
		args = slices.Concat(img.Entrypoint, img.Cmd)
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("no command: neither the request nor the image has one: %w", errdefs.ErrInvalidArgument)
	}
	return args, nil
}

// environment is the image's, then HOSTNAME and what programs expect to find, then the request's;
// the last value of a name counts.
func environment(r Request) ([]string, error) {
	hostname, err := sandbox.Hostname(r.Pod)
	if err != nil {
		return nil, err
	}
	env := newEnv()
	env.set(defaultPath)
	if r.Spec.TTY {
		env.set("TERM=xterm")
	}
	if r.User.Home != "" {
		env.set("HOME=" + r.User.Home)
	}
	env.set("HOSTNAME=" + hostname)
	for _, kv := range r.Image.Env {
		env.set(kv)
	}
	for _, v := range r.Spec.Env {
		env.set(v.Name + "=" + v.Value)
	}
	return env.list, nil
}

// env keeps variables in order of appearance.
type env struct {
	list  []string
	index map[string]int
}

func newEnv() *env { return &env{index: map[string]int{}} }

func (e *env) set(kv string) {
	name, _, _ := strings.Cut(kv, "=")
	if i, ok := e.index[name]; ok {
		e.list[i] = kv
		return
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, kv)
}

func workingDir(r Request) string {
	dir := r.Spec.WorkingDir
	if dir == "" {
		dir = r.Image.WorkingDir
	}
	return path.Join("/", dir)
}

// namespaces lists what the container gets of its own; what is missing is the pod's or the host's.
func namespaces(r Request) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	if r.Spec.Security.Namespaces.PID == spec.ModeContainer {
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if r.Pod.Isolated {
		out = append(out, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	return out
}

func userMappings(pod *spec.Pod, groups bool) []specs.LinuxIDMapping {
	u := pod.Namespaces.User
	if u == nil {
		return nil
	}
	m := u.UID
	if groups {
		m = u.GID
	}
	return idMappings([]spec.IDMap{m})
}

func idMappings(maps []spec.IDMap) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range maps {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.Container, HostID: m.Host, Size: m.Length})
	}
	return out
}

// Paths of proc and sysfs that tell about or change the host, the set every runtime hides.
var (
	defaultMasked = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	defaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// hiddenPaths are the request's. A request without any means the defaults, but for a pod in a
// user namespace, where it is how the kubelet asks for an unmasked /proc (ProcMount): the wire
// cannot tell an empty list from none.
func hiddenPaths(r Request) (masked, readonly []string) {
	s := &r.Spec.Security
	if s.Privileged {
		return nil, nil
	}
	masked, readonly = s.MaskedPaths, s.ReadonlyPaths
	if len(masked)+len(readonly) == 0 && r.Pod.Namespaces.User == nil {
		return defaultMasked, defaultReadonly
	}
	return masked, readonly
}

// podFiles are the pod's own /etc files, unless the request mounts something there itself.
func podFiles(r Request) []sandbox.File {
	return slices.DeleteFunc(sandbox.ContainerFiles(r.PodDir), func(f sandbox.File) bool {
		return mountedAt(r.Spec.Mounts, f.Path)
	})
}

func mountedAt(mounts []spec.Mount, dest string) bool {
	return slices.ContainsFunc(mounts, func(m spec.Mount) bool { return path.Clean(m.ContainerPath) == dest })
}
