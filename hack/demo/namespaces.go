package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// namespaces shows the inode of each namespace of the host and both containers, and whose it is.
func (d *demo) namespaces(ctx context.Context) error {
	web, err := d.cri.ContainerPid(ctx, d.web)
	if err != nil {
		return err
	}
	peer, err := d.cri.ContainerPid(ctx, d.peer)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "    KIND\tHOST\tWEB\tPEER\t")
	for _, kind := range []string{"net", "ipc", "uts", "user", "pid", "mnt", "cgroup"} {
		h, w, p := inode("self", kind), inode(strconv.Itoa(web), kind), inode(strconv.Itoa(peer), kind)
		whose := "each container's own"
		switch {
		case w == h && p == h:
			whose = "the host's"
		case w == p:
			whose = "the pod's"
		}
		fmt.Fprintf(t, "    %s\t%d\t%d\t%d\t%s\n", kind, h, w, p, whose)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Printf("    processes of the runtime: %s\n", d.processes(web, peer))
	return nil
}

func inode(process, kind string) uint64 {
	var st unix.Stat_t
	if unix.Stat(filepath.Join("/proc", process, "ns", kind), &st) != nil {
		return 0
	}
	return st.Ino
}

// processes tells what runs for the pod beside its containers: their parent is the keeper, whose own
// parent is the daemon.
func (d *demo) processes(containers ...int) string {
	keeper, _ := d.node.KeeperPid() // 0: it has none, and is shown so
	known := append(containers, keeper)
	all := fmt.Sprintf("tare %d, keeper %d", d.node.Pid(), keeper)
	for _, pid := range append(children(d.node.Pid()), children(keeper)...) {
		if !slices.Contains(known, pid) {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // for people
			all += fmt.Sprintf(", %s %d", strings.TrimSpace(string(name)), pid)
		}
	}
	return all
}

// children lists a process's children, proc_pid_task_children(5).
func children(pid int) []int {
	var pids []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well-formed
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread that has just ended has no children
		for field := range strings.FieldsSeq(string(text)) {
			child, _ := strconv.Atoi(field)
			pids = append(pids, child)
		}
	}
	return pids
}
