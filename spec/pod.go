package spec

// PodKey is what makes a sandbox the same sandbox when a call is repeated: the pod's UID and
// the kubelet's attempt counter (CRI PodSandboxMetadata).
type PodKey struct {
	UID     string
	Attempt uint32
}

// Pod is what RunPodSandbox asks for, validated.
type Pod struct {
	Name      string // metadata.name
	UID       string // metadata.uid
	Namespace string // metadata.namespace: a Kubernetes namespace
	Attempt   uint32 // metadata.attempt

	Hostname     string // empty: the host's
	LogDirectory string // absolute host path, or empty: the pod's containers log nowhere
	DNS          DNS
	PortMappings []PortMapping // those with a host port; a host port of 0 asks for nothing
	Labels       map[string]string
	Annotations  map[string]string

	CgroupParent string            // in cgroupfs or systemd syntax, as the kubelet wrote it
	Sysctls      map[string]string // name with dots, sysctl(8) → value; namespaced ones only
	Namespaces   Namespaces
	Clocks       *Clocks // nil: the host's
	Privileged   bool    // the pod may hold privileged containers
	SELinux      string  // label "user:role:type:level", a part empty: not given; or empty
	Handler      string  // runtime handler; empty: the default
	Isolated     bool    // each container has a user namespace of its own inside the pod's, which the pod has

	Overhead  *Resources // informational: what the handler itself costs
	Resources *Resources // informational: the sum over the containers
}

// Key returns the identity under which a repeated call finds the same sandbox.
func (p *Pod) Key() PodKey { return PodKey{p.UID, p.Attempt} }

// OwnsUTS says whether the pod has a UTS namespace (hostname, domain name) of its own: unless it is to
// look like the host on its network.
func (p *Pod) OwnsUTS() bool { return p.Namespaces.Network == ModePod || p.Hostname != "" }

// DNS is the content of a pod's resolv.conf. All fields empty: a copy of the host's.
type DNS struct {
	Servers  []string
	Searches []string
	Options  []string
}

// PortMapping publishes one port of the pod on the host.
type PortMapping struct {
	Protocol      string // "tcp", "udp" or "sctp"
	ContainerPort int32  // 1-65535
	HostPort      int32  // 1-65535
	HostIP        string // empty: every address of the host
}

// NamespaceMode says whose Linux namespace a pod or container uses (CRI NamespaceMode).
type NamespaceMode int

// The modes. Which of them a namespace kind admits is checked where the wire is read.
const (
	ModePod       NamespaceMode = iota // shared by the pod's containers
	ModeContainer                      // the container's own
	ModeNode                           // the host's
	ModeTarget                         // that of another container of the pod
)

// Namespaces is a pod's or container's choice for each namespace kind that has one.
type Namespaces struct {
	Network NamespaceMode // ModePod or ModeNode
	IPC     NamespaceMode // ModePod or ModeNode
	PID     NamespaceMode // any; ModeTarget for containers only
	Target  ContainerID   // for PID ModeTarget
	User    *UserNamespace
}

// UserNamespace is a pod's user namespace, CRI UserNamespace in mode POD; a nil pointer is mode
// NODE. Exactly one range each for users and groups, both from container id 0, as CRI demands.
type UserNamespace struct {
	UID IDMap
	GID IDMap
}

// Host translates ids of the pod into the host's; without a user namespace they are the same. An
// id that is not mapped stays what it is.
func (u *UserNamespace) Host(uid, gid uint32) (hostUID, hostGID uint32) {
	if u == nil {
		return uid, gid
	}
	return u.UID.host(uid), u.GID.host(gid)
}

func (m IDMap) host(id uint32) uint32 {
	if !m.Has(id) {
		return id
	}
	return m.Host + (id - m.Container)
}

// Has reports whether the range has an id of the container's side.
func (m IDMap) Has(id uint32) bool { return id >= m.Container && id-m.Container < m.Length }

// IDMap maps Length ids from Container (inside) to Host (outside).
type IDMap struct {
	Container uint32
	Host      uint32
	Length    uint32
}
