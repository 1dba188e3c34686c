package spec

import "golang.org/x/sys/unix"

// ContainerKey is what makes a container the same container when CreateContainer is repeated.
type ContainerKey struct {
	Pod     PodID
	Name    string
	Attempt uint32
}

// Container is what CreateContainer asks for, validated.
type Container struct {
	Name    string // metadata.name, unique in the pod together with Attempt
	Attempt uint32 // metadata.attempt

	Image            string // as the request names it: an id, a digest reference or a tag
	UserImage        string // the name a user wrote in the pod (ImageSpec.user_specified_image)
	ImageAnnotations map[string]string

	Command    []string // replaces the image's entrypoint, unless empty
	Args       []string // replaces the image's cmd, unless empty
	WorkingDir string   // empty: the image's, else "/"
	Env        []EnvVar
	Mounts     []Mount
	Devices    []Device
	CDIDevices []string // fully qualified names, "vendor/class=device"

	Labels      map[string]string
	Annotations map[string]string
	LogPath     string // relative to the pod's LogDirectory, or empty: no log

	Stdin      bool
	StdinOnce  bool
	TTY        bool
	StopSignal unix.Signal // 0: the image's, else SIGTERM

	Resources *Resources // nil: none asked for
	Security  Security
}

// EnvVar is one environment variable. Values are bytes, not necessarily UTF-8.
type EnvVar struct {
	Name  string
	Value string
}

// Propagation says how mounts travel across a volume's border (CRI MountPropagation).
type Propagation int

// The propagation modes, mount_namespaces(7).
const (
	PropagatePrivate       Propagation = iota // none
	PropagateHostToContain                    // slave: new mounts of the host appear
	PropagateBidirectional                    // shared: both ways
)

// Mount is one volume: a host path, or an image, at a path of the container.
type Mount struct {
	ContainerPath string // absolute, container side
	HostPath      string // absolute, host side; empty for an image volume
	Image         string // image reference; empty for a host path
	UserImage     string // the name a user wrote for it (ImageSpec.user_specified_image)
	ImageSubPath  string // path within the image; relative, without ".."; means nothing without one

	Readonly          bool
	RecursiveReadonly bool // submounts too (mount_setattr AT_RECURSIVE)
	SELinuxRelabel    bool
	Propagation       Propagation
	UID, GID          []IDMap // ask for an idmapped mount
	NoExec            bool
	NoDev             bool
	NoSUID            bool
}

// Device is one device node, or a directory of them, of the host.
type Device struct {
	HostPath      string
	ContainerPath string
	Permissions   string // a subset of "rwm"
}

// Security is a container's security context (CRI LinuxContainerSecurityContext).
type Security struct {
	User               User
	SupplementalGroups []uint32
	StrictGroups       bool // SupplementalGroupsPolicy Strict: the image's group file is not read
	Namespaces         Namespaces

	Privileged     bool
	ReadonlyRootfs bool
	NoNewPrivs     bool
	AddCaps        []string // upper case with CAP_ prefix, or "ALL"
	DropCaps       []string
	AmbientCaps    []string
	MaskedPaths    []string
	ReadonlyPaths  []string
	Seccomp        Profile
	AppArmor       Profile
	SELinux        string // label "user:role:type:level", a part empty: not given; or empty: the pod's
}

// User says as whom a container runs. At most one of UID and Name is given; with neither, the
// image's user. GID needs one of them (CRI: a group without a user is an error).
type User struct {
	UID  *uint32
	GID  *uint32
	Name string
}

// ProfileKind is the kind of a seccomp or AppArmor profile (CRI SecurityProfile).
type ProfileKind int

// The kinds; the zero value is what a request without a profile means.
const (
	ProfileUnset ProfileKind = iota
	ProfileRuntimeDefault
	ProfileUnconfined
	ProfileLocalhost
)

// Profile names a seccomp profile file or an AppArmor profile.
type Profile struct {
	Kind ProfileKind
	Name string // for ProfileLocalhost: path of the seccomp file, or AppArmor profile name
}

// Resources are a container's limits in CRI's units. A zero means: not specified; for quota and
// memory, -1 means: unlimited.
type Resources struct {
	CPUPeriod   int64 // µs
	CPUQuota    int64 // µs in each period
	CPUShares   int64 // relative weight, 2-262144
	CpusetCpus  string
	CpusetMems  string
	Memory      int64 // bytes
	MemorySwap  int64 // bytes, memory and swap together
	OOMScoreAdj int64 // -1000…1000
	Hugepages   []Hugepage
	Unified     map[string]string // cgroup v2 file → value

	// What CRI has no field for, and plugins ask for.
	MemoryReservation int64 // bytes that are reclaimed last, or -1: none
	Pids              int64 // processes and threads, or -1: unlimited
}

// Hugepage limits the use of one huge page size.
type Hugepage struct {
	PageSize string // "2MB", "1GB": hugetlb cgroup file syntax
	Limit    uint64 // bytes
}
