package container

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

func TestCheckSchedule(t *testing.T) {
	mapped := []specs.LinuxIDMapping{{Size: 65536}}
	for _, tt := range []struct {
		name  string
		sched *specs.Scheduler
		io    *specs.LinuxIOPriority
		maps  []specs.LinuxIDMapping
		want  string // in the error; empty: none
	}{
		{name: "nothing"},
		{name: "all classes", io: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE, Priority: 7}, sched: &specs.Scheduler{Policy: specs.SchedRR, Priority: 99}, maps: mapped},
		{name: "deadline", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 20, Deadline: 1 << 21, Period: 1 << 21}},
		{name: "deadline without a period", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 20, Deadline: 1 << 21}},
		{name: "no class", io: &specs.LinuxIOPriority{Priority: 3}, want: `io_priority.class ""`},
		{name: "level 8", io: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}, want: "io_priority.priority 8"},
		{name: "level -1", io: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: -1}, want: "io_priority.priority -1"},
		{name: "a policy Linux has not", sched: &specs.Scheduler{Policy: specs.SchedISO}, want: `scheduler.policy "SCHED_ISO"`},
		{name: "an unknown flag", sched: &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"X"}}, want: `scheduler.flags: "X"`},
		{name: "too nice", sched: &specs.Scheduler{Policy: specs.SchedBatch, Nice: 20}, want: "scheduler.nice 20"},
		{name: "realtime without priority", sched: &specs.Scheduler{Policy: specs.SchedFIFO}, want: "scheduler.priority 0"},
		{name: "priority of none", sched: &specs.Scheduler{Policy: specs.SchedOther, Priority: 1}, want: "scheduler.priority 1"},
		{name: "period of none", sched: &specs.Scheduler{Policy: specs.SchedOther, Period: 1}, want: "scheduler.runtime, deadline and period"},
		{name: "deadline before its end", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 21, Deadline: 1 << 20}, want: "scheduler.runtime 2097152"},
		{name: "deadline for no time", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1, Deadline: 1 << 20}, want: "scheduler.runtime 1 "},
		{name: "deadline after its period", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 20, Deadline: 1 << 21, Period: 1 << 20}, want: "scheduler.deadline"},
		{name: "deadline without the host's power", sched: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 20, Deadline: 1 << 21}, maps: mapped, want: "scheduler.policy SCHED_DEADLINE"},
	} {
		err := checkSchedule(&specs.Spec{Process: &specs.Process{Scheduler: tt.sched, IOPriority: tt.io}, Linux: &specs.Linux{UIDMappings: tt.maps}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errdefs.IsFailedPrecondition(err)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestScheduleOrder: what is inherited is set first, and what is not in the process that executes, before its filter.
func TestScheduleOrder(t *testing.T) {
	pod := spec.Pod{Hostname: "web-0"}
	for _, tt := range []struct {
		name  string
		sched specs.Scheduler
		early string // empty: not set then
		late  string
		caps  string // while it forks
	}{
		{"inherited", specs.Scheduler{Policy: specs.SchedFIFO, Priority: 5}, "SCHED_FIFO nice 0 priority 5 flags 0x0", "", "eff 0x0 "},
		{"not by children", specs.Scheduler{Policy: specs.SchedBatch, Nice: -1, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}},
			"SCHED_BATCH nice -1 priority 0 flags 0x0", "SCHED_BATCH nice -1 priority 0 flags 0x1", "eff 0x0 "},
		{"by nobody", specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1 << 20, Deadline: 1 << 21}, "", "SCHED_DEADLINE nice 0 priority 0 flags 0x0", "eff 0x800000 "},
	} {
		s := start(t, &pod, &spec.Container{Security: spec.Security{NoNewPrivs: true, Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
		s.OCI.Process.Scheduler = &tt.sched
		s.OCI.Process.Capabilities = &specs.LinuxCapabilities{}
		s.OCI.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT, Priority: 2}
		enter, err := Enter(Entry{OCI: s.OCI, Sandbox: s.Sandbox, PidFD: place(t, "pidfd"), Cgroup: s.Cgroup, Args: []string{"true"}, Stdio: s.Stdio})
		if err != nil {
			t.Fatal(err)
		}
		for name, listing := range map[string]string{"container": compile(t, s).String(), "exec": enter.String()} {
			before, after, _ := strings.Cut(listing, "setns ")
			if name == "exec" {
				if !strings.Contains(after, tt.caps) {
					t.Errorf("%s, exec: it forks without %q:\n%s", tt.name, tt.caps, listing)
				}
				_, after, _ = strings.Cut(after, "fork ")
			}
			if !strings.Contains(before, "IOPRIO_CLASS_RT 2") || !strings.Contains(before, tt.early) || tt.early == "" && strings.Contains(before, "sched_setattr") {
				t.Errorf("%s, %s: at first %s\nwant %q", tt.name, name, before, tt.early)
			}
			if got := strings.Contains(after, "sched_setattr"); got != (tt.late != "") || !strings.Contains(after, tt.late) {
				t.Errorf("%s, %s: then %s\nwant %q", tt.name, name, after, tt.late)
			}
		}
	}
}
