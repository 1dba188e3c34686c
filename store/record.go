package store

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/spec"
)

// Pod is the record of one pod sandbox and its containers. Immutable once stored, with all
// that its fields point at.
type Pod struct {
	ID        spec.PodID
	Spec      spec.Pod
	State     PodState
	CreatedAt time.Time
	Handler   string // the runtime handler in force; Spec.Handler may be empty for it
	// Driver is the OCI runtime that the handler stood for when the pod was made: its containers stay with that,
	// whatever becomes of the handler. Nil: none, or the record is of a daemon that did not note it.
	Driver *Driver `json:",omitempty"`

	IPs        []netip.Addr      // the primary one first; empty in the host's network
	NetNS      string            // host path where the pod's netns is bound, or empty
	Namespaces map[string]uint64 // kind, as in /proc/PID/ns → inode of the pod's own
	CgroupPath string            // the pod's cgroup, relative to each hierarchy's root
	SELinux    spec.Labels       // what its containers start from

	Containers map[spec.ContainerID]*Container
}

// Driver is an OCI runtime as it was configured.
type Driver struct {
	Binary string
	Root   string // of its state
	Args   []string
}

// Container is the record of one container. Immutable once stored.
type Container struct {
	ID    spec.ContainerID
	Pod   spec.PodID
	Spec  spec.Container
	State ContainerState

	Image     spec.ImageID
	ImageRef  string // repository@digest, or the image id where there is none
	ImageName string // a tag for people, or the reference as asked
	// ImageHandler is the runtime handler the image is listed with: the kubelet takes the two
	// together to tell which images are in use (image_gc_manager.go, getImageTuple).
	ImageHandler string
	Volumes      []spec.ImageID // the images mounted as volumes

	CreatedAt  time.Time
	StartedAt  time.Time // zero: not started
	FinishedAt time.Time // zero: not exited
	ExitCode   int32     // valid with FinishedAt
	Reason     string    // CamelCase: Completed, Error, OOMKilled, StartError…
	Message    string    // for people

	Pid        int               // in the host's PID namespace; 0 unless running
	Namespaces map[string]uint64 // kind → inode of the container's own
	CgroupPath string            // relative to each hierarchy's root
	LogPath    string            // absolute host path, or empty: no log
	LogUnheard bool              `json:",omitempty"` // the log was reopened, and the caller may not have heard of it
	User       User              // as whom it runs, resolved against the image
	StopSignal unix.Signal       // the one in force
	OCI        *specs.Spec       // assembled at create; what start compiles
}

// User is a resolved user, in the container's ids.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// Key returns the identity under which a repeated call finds the same container.
func (c *Container) Key() spec.ContainerKey {
	return spec.ContainerKey{Pod: c.Pod, Name: c.Spec.Name, Attempt: c.Spec.Attempt}
}

// ByAge lists the pod's containers, oldest first by the times that clients are told.
func (p *Pod) ByAge() []*Container {
	return slices.SortedFunc(maps.Values(p.Containers), func(a, b *Container) int {
		return cmp.Compare(a.CreatedAt.UnixNano(), b.CreatedAt.UnixNano())
	})
}

// copy returns a record whose own fields, container map and containers' own fields may be
// changed freely. What lies deeper (label maps, slices, OCI) stays shared with the original.
func (p *Pod) copy() *Pod {
	c := *p
	c.Containers = make(map[spec.ContainerID]*Container, len(p.Containers)+1)
	for id, ctr := range p.Containers {
		own := *ctr
		c.Containers[id] = &own
	}
	return &c
}

// uids lists under which Kubernetes pod UIDs this pod and its containers are looked for: the
// UID itself, and what the label of the kubelet says on any of them.
func (p *Pod) uids() map[string]struct{} {
	set := map[string]struct{}{p.Spec.UID: {}}
	if uid, ok := p.Spec.Labels[UIDLabel]; ok {
		set[uid] = struct{}{}
	}
	for c := range maps.Values(p.Containers) {
		if uid, ok := c.Spec.Labels[UIDLabel]; ok {
			set[uid] = struct{}{}
		}
	}
	return set
}
