package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sysctl returns the name with dots, sysctl(8), of a kernel parameter that is to have a value, whichever of its names key
// is. Only those that a namespace of the pod's own contains can be set; the others are the host's.
func Sysctl(key, value string, p *Pod) (name string, err error) {
	name = dotted(key)
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || part == "/" || part == "//" || strings.ContainsAny(part, "\x00\n") {
			return "", errors.New("is not the name of a kernel parameter")
		}
	}
	if err := sysctlScope(name, p); err != nil {
		return "", err
	}
	switch {
	case value == "":
		return "", errors.New("has no value")
	case strings.ContainsAny(value, "\x00\n"):
		return "", fmt.Errorf("value %q has a line break or NUL byte", value)
	}
	return name, nil
}

// dotted turns the form "net/ipv4/conf/eth0.1/forwarding" into "net.ipv4.conf.eth0/1.forwarding":
// the first separator decides which it is, and within a component the two change places
// (sysctl.d(5)).
func dotted(key string) string {
	first := strings.IndexAny(key, "./")
	if first < 0 || key[first] == '.' {
		return key
	}
	return swapSeparators(key)
}

func swapSeparators(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// SysctlPath is where the kernel has a parameter below /proc, by its name with dots: these separate, slashes inside a name
// stand for dots in it (sysctl(8)).
func SysctlPath(name string) string { return "sys/" + swapSeparators(name) }

// ipcSysctls are those an IPC namespace has its own value of, ipc_namespaces(7).
var ipcSysctls = []string{
	"kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.shm_next_id",
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.msg_next_id", "kernel.sem_next_id",
}

// SysctlNamespace is the kind of namespace that a kernel parameter, by its name with dots, belongs to, as /proc/PID/ns
// calls it: net, ipc or uts; empty: it is the host's.
func SysctlNamespace(name string) string {
	switch {
	case strings.HasPrefix(name, "net."):
		return "net"
	case strings.HasPrefix(name, "fs.mqueue.") || slices.Contains(ipcSysctls, name):
		return "ipc"
	case name == "kernel.domainname" || name == "kernel.hostname":
		return "uts"
	}
	return ""
}

// sysctlScope refuses a parameter that belongs to no namespace of the pod's own.
func sysctlScope(name string, p *Pod) error {
	switch SysctlNamespace(name) {
	case "net":
		if p.Namespaces.Network == ModeNode {
			return errors.New("would change the host: the pod uses the host's network")
		}
	case "ipc":
		if p.Namespaces.IPC == ModeNode {
			return errors.New("would change the host: the pod uses the host's IPC namespace")
		}
	case "uts":
		if name == "kernel.hostname" {
			return errors.New("is set by the field hostname")
		}
		if !p.OwnsUTS() {
			return errors.New("would change the host: the pod uses the host's UTS namespace")
		}
	default:
		return errors.New("belongs to no namespace, setting it would change the host")
	}
	return nil
}
