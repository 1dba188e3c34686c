package apparmor

import (
	"fmt"
	"os"
	"strings"
)

// DefaultName is the profile of containers that name none.
const DefaultName = "tare-default"

// rules are the default profile's body, apparmor.d(5). It permits what capabilities, namespaces, mounts
// and the seccomp filter leave to a container, and is the second lock on the doors to the host: files of
// /proc and /sys that belong to no process, should a mask be missing, and mounting, should a capability
// be there. No include: it depends on nothing in /etc.
//
// Paths are what the kernel resolves, so /proc/self is a number here. In /proc/sys only kernel/shm* can be
// written, which is the IPC namespace's, and in /sys only fs/cgroup.
const rules = `
	file,
	capability,
	network,
	umount,
	signal (send, receive) peer=` + DefaultName + `,
	ptrace (trace, tracedby, read, readby) peer=` + DefaultName + `,

	deny mount,
	deny remount,
	deny pivot_root,

	deny /proc/[^0-9s]** w,
	deny /proc/s[^y]** w,
	deny /proc/sy[^s]** w,
	deny /proc/sys[^/]** w,
	deny /proc/sys/[^k]** w,
	deny /proc/sys/kernel/[^s]** w,
	deny /proc/sys/kernel/s[^h]** w,
	deny /proc/sys/kernel/sh[^m]** w,
	deny /proc/{kcore,sysrq-trigger} rklx,

	deny /sys/[^f]** w,
	deny /sys/f[^s]** w,
	deny /sys/fs/[^c]** w,
	deny /sys/fs/c[^g]** w,
	deny /sys/firmware/** rklx,
	deny /sys/devices/virtual/powercap/** rklx,
	deny /sys/kernel/security/** rklx,
`

// abi pins what the rules are about: with a newer one the parser would deny what they do not speak of,
// such as user namespaces. Parsers before 3.0 have no such file, and no such statement.
const abi = "abi/3.0"

// defaultText is the default profile's source. Whoever stops containers has to be let through to them: the host's
// root, and daemon and keeper, where they run under a profile of their own.
func defaultText(own string) string {
	stoppers := []string{"unconfined"}
	if own != "" {
		stoppers = append(stoppers, own)
	}
	var s strings.Builder
	if _, err := os.Stat("/etc/apparmor.d/" + abi); err == nil {
		fmt.Fprintf(&s, "abi <%s>,\n", abi)
	}
	fmt.Fprintf(&s, "profile %s flags=(attach_disconnected, mediate_deleted) {", DefaultName)
	s.WriteString(rules)
	for _, peer := range stoppers {
		fmt.Fprintf(&s, "\tsignal (receive) peer=%q,\n", peer)
	}
	s.WriteString("}\n")
	return s.String()
}
