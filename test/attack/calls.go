package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bad is no address, and none is -1: whoever has all power gets an error, and changes nothing.
const (
	bad  = uintptr(1)
	none = ^uintptr(0)
)

// dangerous are calls that reach beyond a container or deep into the kernel.
var dangerous = []struct {
	name string
	nr   uintptr
	args [6]uintptr
}{
	{"acct", unix.SYS_ACCT, [6]uintptr{bad}},
	{"add_key", unix.SYS_ADD_KEY, [6]uintptr{bad, bad}},
	{"bpf", unix.SYS_BPF, [6]uintptr{999}},
	{"clock_settime", unix.SYS_CLOCK_SETTIME, [6]uintptr{0, bad}},
	{"clone with CLONE_NEWUSER", unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS}},
	{"clone3", unix.SYS_CLONE3, [6]uintptr{bad, 0}},
	{"delete_module", unix.SYS_DELETE_MODULE, [6]uintptr{bad}},
	{"fanotify_init", unix.SYS_FANOTIFY_INIT, [6]uintptr{none}},
	{"finit_module", unix.SYS_FINIT_MODULE, [6]uintptr{none, bad}},
	{"fsconfig", unix.SYS_FSCONFIG, [6]uintptr{none, 999}},
	{"fsmount", unix.SYS_FSMOUNT, [6]uintptr{none}},
	{"fsopen", unix.SYS_FSOPEN, [6]uintptr{bad}},
	{"fspick", unix.SYS_FSPICK, [6]uintptr{none, bad}},
	{"init_module", unix.SYS_INIT_MODULE, [6]uintptr{bad, 1, bad}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [6]uintptr{1, bad}},
	{"io_uring_enter", unix.SYS_IO_URING_ENTER, [6]uintptr{none}},
	{"io_uring_register", unix.SYS_IO_URING_REGISTER, [6]uintptr{none}},
	{"kcmp", unix.SYS_KCMP, [6]uintptr{1, 1, 999}},
	{"kexec_load", unix.SYS_KEXEC_LOAD, [6]uintptr{0, none, bad}},
	{"keyctl", unix.SYS_KEYCTL, [6]uintptr{9999}},
	{"mbind", unix.SYS_MBIND, [6]uintptr{bad, 1, none}},
	{"mount", unix.SYS_MOUNT, [6]uintptr{bad, bad, bad}},
	{"mount_setattr", unix.SYS_MOUNT_SETATTR, [6]uintptr{none, bad}},
	{"move_mount", unix.SYS_MOVE_MOUNT, [6]uintptr{none, bad, none, bad}},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [6]uintptr{none, bad}},
	{"open_tree", unix.SYS_OPEN_TREE, [6]uintptr{none, bad}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{bad}},
	{"pidfd_getfd", unix.SYS_PIDFD_GETFD, [6]uintptr{none}},
	{"pivot_root", unix.SYS_PIVOT_ROOT, [6]uintptr{bad, bad}},
	{"process_madvise", unix.SYS_PROCESS_MADVISE, [6]uintptr{none, bad}},
	{"quotactl", unix.SYS_QUOTACTL, [6]uintptr{none, bad}},
	{"reboot", unix.SYS_REBOOT, [6]uintptr{1, 2, 3}},
	{"request_key", unix.SYS_REQUEST_KEY, [6]uintptr{bad}},
	{"set_mempolicy", unix.SYS_SET_MEMPOLICY, [6]uintptr{999}},
	{"setdomainname", unix.SYS_SETDOMAINNAME, [6]uintptr{bad, none}},
	{"sethostname", unix.SYS_SETHOSTNAME, [6]uintptr{bad, none}},
	{"setns", unix.SYS_SETNS, [6]uintptr{none}},
	{"settimeofday", unix.SYS_SETTIMEOFDAY, [6]uintptr{bad}},
	{"socket of AF_ALG", unix.SYS_SOCKET, [6]uintptr{unix.AF_ALG, 15}},
	{"socket of AF_VSOCK", unix.SYS_SOCKET, [6]uintptr{unix.AF_VSOCK, 15}},
	{"swapoff", unix.SYS_SWAPOFF, [6]uintptr{bad}},
	{"swapon", unix.SYS_SWAPON, [6]uintptr{bad}},
	{"syslog", unix.SYS_SYSLOG, [6]uintptr{999}},
	{"umount2", unix.SYS_UMOUNT2, [6]uintptr{bad}},
	{"unshare", unix.SYS_UNSHARE, [6]uintptr{1}},
	{"userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{none}},
	{"vmsplice, which all may call", unix.SYS_VMSPLICE, [6]uintptr{none}},
}

// calls makes each of them and says what came of it.
func calls([]string) error {
	for _, c := range dangerous {
		_, _, errno := unix.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		fmt.Printf("%s: %s\n", c.name, unix.ErrnoName(errno))
	}
	return nil
}
