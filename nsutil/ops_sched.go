package nsutil

import "golang.org/x/sys/unix"

// OpScheduler is the name of the operation that sets a scheduling policy.
const OpScheduler = "sched_setattr"

// Scheduler sets the process's scheduling policy and what belongs to it, sched_setattr(2). The size is the builder's
// business; detail says in a listing what it is.
//
// It takes CAP_SYS_NICE of the host's user namespace to have a process preferred: a realtime policy, a lower nice value,
// SCHED_DEADLINE (user_check_sched_setscheduler, kernel/sched/syscalls.c). What it has already it may set again
// without. Processes it forks inherit it, unless SCHED_FLAG_RESET_ON_FORK is set; one of SCHED_DEADLINE cannot fork
// without that (sched(7)).
func (b *Builder) Scheduler(a unix.SchedAttr, detail string) {
	attr := b.reserve(unix.SizeofSchedAttr, 8)
	for i, v := range []uint32{unix.SizeofSchedAttr, a.Policy, uint32(a.Flags), uint32(a.Flags >> 32), uint32(a.Nice), a.Priority} {
		b.putU32(attr+uint32(4*i), v)
	}
	for i, v := range []uint64{a.Runtime, a.Deadline, a.Period} {
		b.putU64(attr+24+uint32(8*i), v)
	}
	b.putU32(attr+48, a.Util_min)
	b.putU32(attr+52, a.Util_max)
	b.add(OpScheduler, detail, unix.SYS_SCHED_SETATTR, Imm(0), blobArg(attr), Imm(0))
}

// Classes of I/O priorities, ioprio_set(2).
const (
	IORealtime   = 1 // IOPRIO_CLASS_RT
	IOBestEffort = 2 // IOPRIO_CLASS_BE
	IOIdle       = 3 // IOPRIO_CLASS_IDLE
)

// IOPriority sets the process's class of I/O priority and its level in there, 0 the first and 7 the last to be served,
// ioprio_set(2). Processes it forks inherit it. The realtime class takes CAP_SYS_ADMIN or CAP_SYS_NICE
// of the host's user namespace.
func (b *Builder) IOPriority(class, level uint64, detail string) {
	const process, classShift = 1, 13 // IOPRIO_WHO_PROCESS, IOPRIO_CLASS_SHIFT
	b.add("ioprio_set", detail, unix.SYS_IOPRIO_SET, Imm(process), Imm(0), Imm(class<<classShift|level))
}

// OpMemoryPolicy is the name of the operation that sets a memory policy.
const OpMemoryPolicy = "set_mempolicy"

// MemoryPolicy sets from which NUMA nodes the process gets memory, set_mempolicy(2): mode is one of MPOL_… with flags, nodes
// a mask, the lowest first. The process has to be in its cpuset, whose nodes are all that count. Processes it forks, and what it
// executes, inherit it.
func (b *Builder) MemoryPolicy(mode uint64, nodes []uint64, detail string) {
	mask := Imm(0)
	if len(nodes) > 0 {
		at := b.reserve(8*len(nodes), 8)
		for i, word := range nodes {
			b.putU64(at+uint32(8*i), word)
		}
		mask = blobArg(at)
	}
	// The kernel reads one bit less than it is told (get_nodes, mm/mempolicy.c).
	b.add(OpMemoryPolicy, detail, unix.SYS_SET_MEMPOLICY, Imm(mode), mask, Imm(uint64(64*len(nodes)+1)))
}
