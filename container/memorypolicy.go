package container

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// memoryModes are the modes of memory policies by name, set_mempolicy(2).
var memoryModes = map[specs.MemoryPolicyModeType]uint64{
	specs.MpolDefault: unix.MPOL_DEFAULT, specs.MpolBind: unix.MPOL_BIND, specs.MpolInterleave: unix.MPOL_INTERLEAVE,
	specs.MpolWeightedInterleave: unix.MPOL_WEIGHTED_INTERLEAVE, specs.MpolPreferred: unix.MPOL_PREFERRED,
	specs.MpolPreferredMany: unix.MPOL_PREFERRED_MANY, specs.MpolLocal: unix.MPOL_LOCAL,
}

// memoryFlags are their flags.
var memoryFlags = map[specs.MemoryPolicyFlagType]uint64{
	specs.MpolFNumaBalancing: unix.MPOL_F_NUMA_BALANCING, specs.MpolFRelativeNodes: unix.MPOL_F_RELATIVE_NODES,
	specs.MpolFStaticNodes: unix.MPOL_F_STATIC_NODES,
}

// setMemoryPolicy gives the process its memory policy, once it is in its cpuset.
func setMemoryPolicy(b *nsutil.Builder, p *specs.LinuxMemoryPolicy) {
	if p == nil {
		return
	}
	mode := memoryModes[p.Mode]
	for _, f := range p.Flags {
		mode |= memoryFlags[f]
	}
	nodes, _ := nodeMask(p.Nodes) // checked
	b.MemoryPolicy(mode, nodes, strings.TrimSpace(fmt.Sprintf("%s %s", p.Mode, p.Nodes)))
}

// checkMemoryPolicy refuses what is none. Which nodes there are, and which modes go with them, the kernel knows.
func checkMemoryPolicy(p *specs.LinuxMemoryPolicy) error {
	if p == nil {
		return nil
	}
	if _, ok := memoryModes[p.Mode]; !ok {
		return fmt.Errorf("memory_policy.mode %q is unknown: %w", p.Mode, errdefs.ErrFailedPrecondition)
	}
	for _, f := range p.Flags {
		if _, ok := memoryFlags[f]; !ok {
			return fmt.Errorf("memory_policy.flags: %q is unknown: %w", f, errdefs.ErrFailedPrecondition)
		}
	}
	if _, err := nodeMask(p.Nodes); err != nil {
		return fmt.Errorf("memory_policy.nodes %q: %w: %w", p.Nodes, err, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// maxNodes are more than a kernel may be built for (CONFIG_NODES_SHIFT).
const maxNodes = 1024

// nodeMask translates a list of nodes, "0-1,3", into a mask.
func nodeMask(list string) (mask []uint64, err error) {
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, err
		}
		last, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return nil, err
		}
		if last < first || last >= maxNodes {
			return nil, fmt.Errorf("%s is no range of nodes below %d", part, maxNodes)
		}
		for n := first; n <= last; n++ {
			for uint64(len(mask)) <= n/64 {
				mask = append(mask, 0)
			}
			mask[n/64] |= 1 << (n % 64)
		}
	}
	return mask, nil
}
