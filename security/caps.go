package security

import (
	"fmt"
	"sync"

	"tare/spec"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultCapabilities are what a container has that asks for nothing: the set Docker, containerd
// and CRI-O's users know, so that images run unchanged.
const defaultCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID |
	1<<unix.CAP_SETFCAP | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT |
	1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// everything is CRI's word for all capabilities.
const everything = "ALL"

// bounding asks the kernel once which capabilities a process started here can have, and how many it
// knows (PR_CAPBSET_READ(2const)). A container's are filtered by it: CAP_SYS_RESOURCE, say, is often
// missing where this runs in a container itself.
var bounding = sync.OnceValues(func() (allowed, last uint64) {
	for c := uint64(0); c < 64; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break
		}
		allowed, last = allowed|uint64(set)<<c, c
	}
	return allowed, last
})

// LastCap is the number of the last capability the kernel knows.
func LastCap() uint64 {
	_, last := bounding()
	return last
}

// Capabilities computes a container's capability sets from its security context: the default ones, with ALL
// added or dropped first, then by name added, then by name dropped; all of them if it is privileged.
// Inheritable stays empty, so that a setuid program cannot pass on what its caller never had
// (CVE-2022-24769), but for ambient ones, which the kernel wants there (capabilities(7)). A name that
// is none is ErrInvalidArgument; one this host lacks is left out.
func Capabilities(s *spec.Security) (*specs.LinuxCapabilities, error) {
	allowed, _ := bounding()
	set, ambient, err := compute(s)
	if err != nil {
		return nil, err
	}
	names, raised := Names(set&allowed), Names(ambient&allowed)
	return &specs.LinuxCapabilities{
		Bounding: names, Effective: names, Permitted: names, Inheritable: raised, Ambient: raised,
	}, nil
}

// compute returns the permitted and the ambient set, before the host's part.
func compute(s *spec.Security) (set, ambient uint64, err error) {
	const all = 1<<spec.Capabilities - 1
	add, addAll, err := request("capabilities.add_capabilities", s.AddCaps)
	if err != nil {
		return 0, 0, err
	}
	drop, dropAll, err := request("capabilities.drop_capabilities", s.DropCaps)
	if err != nil {
		return 0, 0, err
	}
	ambient, ambientAll, err := request("capabilities.add_ambient_capabilities", s.AmbientCaps)
	if err != nil {
		return 0, 0, err
	}
	if s.Privileged {
		return all, 0, nil
	}
	set = defaultCapabilities
	if addAll {
		set = all
	}
	if dropAll {
		set = 0
	}
	set = (set | add | ambient) &^ drop
	if ambientAll {
		ambient = set
	}
	return set, ambient & set, nil
}

// request reads one list of a request.
func request(field string, names []string) (mask uint64, all bool, err error) {
	for _, name := range names {
		if name == everything {
			all = true
			continue
		}
		c, ok := spec.CapabilityNumber(name)
		if !ok {
			return 0, false, fmt.Errorf("%s: unknown capability %q: %w", field, name, errdefs.ErrInvalidArgument)
		}
		mask |= 1 << c
	}
	return mask, all, nil
}

// Mask turns names into a set as capset(2) takes it. A name that is none is ErrInvalidArgument.
func Mask(names []string) (uint64, error) {
	mask, all, err := request("capabilities", names)
	if all {
		return 0, fmt.Errorf("capabilities: %s is not a capability: %w", everything, errdefs.ErrInvalidArgument)
	}
	return mask, err
}

// Names turns a set into names, in the order of their numbers.
func Names(mask uint64) []string {
	var names []string
	for c := range spec.Capabilities {
		if name, ok := spec.CapabilityName(c); ok && mask&(1<<c) != 0 {
			names = append(names, name)
		}
	}
	return names
}
