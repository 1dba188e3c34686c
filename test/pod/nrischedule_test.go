package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// scheduled is how the kernel schedules a process, in one line.
func scheduled(t *testing.T, pid int) string {
	t.Helper()
	attr, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	const process, classShift = 1, 13 // IOPRIO_WHO_PROCESS, ioprio_set(2)
	io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, uintptr(pid), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	out := fmt.Sprintf("policy %d nice %d priority %d flags %#x io %d %d", attr.Policy, attr.Nice, attr.Priority, attr.Flags, io>>classShift, io&(1<<classShift-1))
	if attr.Policy == unix.SCHED_DEADLINE { // of others it is their slice, from Linux 6.12 on
		out += fmt.Sprintf(" runtime %d deadline %d", attr.Runtime, attr.Deadline)
	}
	return out
}

// TestPluginSchedules looks at what a plugin makes of a container's scheduling with the kernel's eyes, and at a command's in it.
func TestPluginSchedules(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	resetting := []api.LinuxSchedulerFlag{api.LinuxSchedulerFlag_SCHED_FLAG_RESET_ON_FORK}
	best := func(level int32) *api.LinuxIOPriority {
		return &api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: level}
	}
	for _, tt := range []struct {
		name  string
		sched *api.LinuxScheduler
		io    *api.LinuxIOPriority
		pod   []podOption
		want  string
		exec  string // nice, policy, and class and level of I/O; empty: not asked for, the process cannot fork
	}{
		{"preferred", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_BATCH, Nice: -5},
			&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_RT, Priority: 2}, nil,
			"policy 3 nice -5 priority 0 flags 0x0 io 1 2", "-5 3 realtime: prio 2"},
		{"preferred in a user namespace", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_OTHER, Nice: -5, Flags: resetting},
			&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_RT, Priority: 2}, []podOption{inUserNS},
			"policy 0 nice -5 priority 0 flags 0x1 io 1 2", "-5 0 realtime: prio 2"},
		{"idle", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_IDLE},
			&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_IDLE}, nil,
			"policy 5 nice 0 priority 0 flags 0x0 io 3 0", "0 5 idle"},
		{"not its children", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_OTHER, Nice: -7, Flags: resetting}, best(6), nil,
			"policy 0 nice -7 priority 0 flags 0x1 io 2 6", "-7 0 best-effort: prio 6"},
		{"with a deadline", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_DEADLINE, Runtime: 1e6, Deadline: 1e8, Period: 1e8, Flags: resetting}, nil, nil,
			"policy 6 nice 0 priority 0 flags 0x1 io 0 0 runtime 1000000 deadline 100000000", "0 6 none: prio 0"},
		{"with a deadline, forking never", &api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_DEADLINE, Runtime: 1e6, Deadline: 1e8}, nil, nil,
			"policy 6 nice 0 priority 0 flags 0x0 io 0 0 runtime 1000000 deadline 100000000", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlugin(t, d, adjusting("scheduling", "10", func(a *api.ContainerAdjustment) {
				a.SetLinuxScheduler(tt.sched)
				a.SetLinuxIOPriority(tt.io)
			}))
			defer p.stub.Stop()
			runs := sleeper
			if tt.exec == "" {
				runs = command("sleep", "1000000")
			}
			c := d.runPod(t, tt.pod...).start(runs)
			if got := scheduled(t, c.pid()); got != tt.want {
				t.Errorf("the container's process has %s, want %s", got, tt.want)
			}
			if tt.exec == "" {
				return
			}
			out := c.exec(`read -r line </proc/$$/stat; set -- $line; shift 18; echo "$1 ${23}"; ionice -p $$`)
			if got := strings.Join(strings.Fields(out), " "); got != tt.exec {
				t.Errorf("a command in the container has %s, want %s", got, tt.exec)
			}
		})
	}
}

// TestPluginWantsRealtime: where the kernel shares realtime out among cgroups, a container's has none (sched-rt-group.rst),
// and its start says what failed.
func TestPluginWantsRealtime(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	pod := d.runPod(t)
	newPlugin(t, d, adjusting("realtime", "10", func(a *api.ContainerAdjustment) {
		a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_FIFO, Priority: 5})
	}))
	c := pod.create(sleeper)
	err := c.tryStart()
	if _, serr := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"); !errors.Is(serr, fs.ErrNotExist) {
		refused(t, err, codes.FailedPrecondition, "scheduler", "SCHED_FIFO nice 0 priority 5", "not permitted")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := scheduled(t, c.pid()), "policy 1 nice 0 priority 5 flags 0x0 io 0 0"; got != want {
		t.Errorf("the container's process has %s, want %s", got, want)
	}
}

// TestPluginSchedulesByRuntime: an OCI runtime gets the scheduling that a plugin wants if it says it knows of such; with one
// that does not, the container is refused.
func TestPluginSchedulesByRuntime(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	dir, config := t.TempDir(), ""
	for name, features := range map[string]string{
		"old": `echo '{"ociVersionMin":"1.0.0","ociVersionMax":"1.0.2-dev"}'`, "new": `echo '{"ociVersionMin":"1.0.0","ociVersionMax":"1.1.0"}'`, "none": "exit 1",
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" features \"*) %s; exit;; esac\nexec %s \"$@\"\n", features, runc))
		chmod(t, path)
		config += fmt.Sprintf("[handlers.%s]\nbinary = %q\n", name, path)
	}
	d := ociDaemon(t, config)
	newPlugin(t, d, adjusting("scheduling", "10", func(a *api.ContainerAdjustment) {
		a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_BATCH})
		a.SetLinuxIOPriority(&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: 6})
	}))
	for handler, words := range map[string][]string{"old": {"up to version \"1.0.2-dev\""}, "none": {"exit status 1"}} {
		p := d.runPodBy(t, handler)
		_, err := p.tryCreate(p.containerConfig(sleeper))
		refused(t, err, codes.FailedPrecondition, append(words, "NRI: adjustment: scheduler, io_priority", "runtime handler "+handler)...)
	}
	c := d.runPodBy(t, "new").start(sleeper)
	data, err := os.ReadFile(d.path("root/containers/" + c.id + "/bundle/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"scheduler":{"policy":"SCHED_BATCH"`, `"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":6}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the runtime does not get %s: %s", want, data)
		}
	}
}
