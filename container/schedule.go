package container

import (
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// policies are scheduling policies by name, sched(7). The specification's SCHED_ISO is none that Linux has.
var policies = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE,
	specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR, specs.SchedDeadline: unix.SCHED_DEADLINE,
}

// schedulerFlags are their flags, sched_setattr(2).
var schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
	specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
	specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// ioClasses are classes of I/O priorities by name, ioprio_set(2).
var ioClasses = map[specs.IOPriorityClass]uint64{
	specs.IOPRIO_CLASS_RT: nsutil.IORealtime, specs.IOPRIO_CLASS_BE: nsutil.IOBestEffort, specs.IOPRIO_CLASS_IDLE: nsutil.IOIdle,
}

// schedule gives the process its scheduling policy and I/O priority while it is the host's root: the root of a user
// namespace may give none that is preferred. What it forks on its way to the command inherits them, but for what
// scheduleLate sets.
func (c *compiler) schedule() {
	p := c.OCI.Process
	if io := p.IOPriority; io != nil {
		c.b.IOPriority(ioClasses[io.Class], uint64(io.Priority), fmt.Sprintf("%s %d", io.Class, io.Priority))
	}
	if s := p.Scheduler; s != nil && s.Policy != specs.SchedDeadline {
		attr := schedAttr(s)
		attr.Flags &^= unix.SCHED_FLAG_RESET_ON_FORK
		setScheduler(c.b, s, attr)
	}
}

// scheduleLate sets what no process inherits, in the one that executes the command: SCHED_DEADLINE, and
// SCHED_FLAG_RESET_ON_FORK.
func (c *credentials) scheduleLate(b *nsutil.Builder) {
	s := c.process.Scheduler
	if s == nil {
		return
	}
	if attr := schedAttr(s); c.deadline() || attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0 {
		setScheduler(b, s, attr)
	}
}

// deadline says whether the process is one of SCHED_DEADLINE.
func (c *credentials) deadline() bool {
	return c.process.Scheduler != nil && c.process.Scheduler.Policy == specs.SchedDeadline
}

func schedAttr(s *specs.Scheduler) unix.SchedAttr {
	attr := unix.SchedAttr{
		Policy: policies[s.Policy], Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
	}
	for _, f := range s.Flags {
		attr.Flags |= schedulerFlags[f]
	}
	return attr
}

func setScheduler(b *nsutil.Builder, s *specs.Scheduler, attr unix.SchedAttr) {
	b.Scheduler(attr, fmt.Sprintf("%s nice %d priority %d flags %#x", s.Policy, s.Nice, s.Priority, attr.Flags))
}

// checkSchedule refuses what the kernel would, or would take for something else.
func checkSchedule(oci *specs.Spec) error {
	if io := oci.Process.IOPriority; io != nil {
		if err := checkIOPriority(io); err != nil {
			return fmt.Errorf("io_priority.%w: %w", err, errdefs.ErrFailedPrecondition)
		}
	}
	if s := oci.Process.Scheduler; s != nil {
		if err := checkScheduler(s, len(oci.Linux.UIDMappings) > 0); err != nil {
			return fmt.Errorf("scheduler.%w: %w", err, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

func checkIOPriority(io *specs.LinuxIOPriority) error {
	if _, ok := ioClasses[io.Class]; !ok {
		return fmt.Errorf("class %q is unknown", io.Class)
	}
	if io.Priority < 0 || io.Priority > 7 {
		return fmt.Errorf("priority %d is not between 0 and 7", io.Priority)
	}
	return nil
}

// checkScheduler follows __sched_setscheduler and __checkparam_dl, kernel/sched.
func checkScheduler(s *specs.Scheduler, userNS bool) error {
	if _, ok := policies[s.Policy]; !ok {
		return fmt.Errorf("policy %q is unknown", s.Policy)
	}
	for _, f := range s.Flags {
		if _, ok := schedulerFlags[f]; !ok {
			return fmt.Errorf("flags: %q is unknown", f)
		}
	}
	if s.Nice < -20 || s.Nice > 19 {
		return fmt.Errorf("nice %d is not between -20 and 19", s.Nice)
	}
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	switch {
	case realtime && (s.Priority < 1 || s.Priority > 99):
		return fmt.Errorf("priority %d is not between 1 and 99, as %s wants it", s.Priority, s.Policy)
	case !realtime && s.Priority != 0:
		return fmt.Errorf("priority %d is for SCHED_FIFO and SCHED_RR, not for %s", s.Priority, s.Policy)
	case s.Policy == specs.SchedDeadline:
		return checkDeadline(s, userNS)
	case s.Runtime != 0 || s.Deadline != 0 || s.Period != 0:
		return fmt.Errorf("runtime, deadline and period are for SCHED_DEADLINE, not for %s", s.Policy)
	}
	return nil
}

func checkDeadline(s *specs.Scheduler, userNS bool) error {
	const shortest, longest = 1 << 10, 1 << 63 // DL_SCALE; the top bit is for differences
	switch {
	case userNS:
		return fmt.Errorf("policy %s is not for a process in a user namespace", s.Policy)
	case s.Runtime < shortest || s.Runtime > s.Deadline:
		return fmt.Errorf("runtime %d is not between %d ns and the deadline", s.Runtime, shortest)
	case s.Deadline >= longest || s.Period >= longest || s.Period != 0 && s.Period < s.Deadline:
		return fmt.Errorf("deadline %d is after the period %d, or they are too long", s.Deadline, s.Period)
	}
	return nil
}
