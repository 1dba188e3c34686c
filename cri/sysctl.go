package cri

import (
	"maps"
	"slices"
	"strings"

	"tare/spec"
)

// sysctls checks and normalises the kernel parameters of a pod. Only those that a namespace of
// the pod's own contains can be set; the others are the host's.
func sysctls(values map[string]string, at field, p *spec.Pod) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, at := dotted(key), at.key(key)
		if err := sysctlName(name, at); err != nil {
			return nil, err
		}
		if err := sysctlScope(name, at, p); err != nil {
			return nil, err
		}
		if values[key] == "" {
			return nil, at.errorf("has no value")
		}
		if strings.ContainsAny(values[key], "\x00\n") {
			return nil, at.errorf("value %q has a line break or NUL byte", values[key])
		}
		if _, twice := out[name]; twice {
			return nil, at.errorf("%s is given twice", name)
		}
		out[name] = values[key]
	}
	return out, nil
}

// dotted turns the form "net/ipv4/conf/eth0.1/forwarding" into "net.ipv4.conf.eth0/1.forwarding":
// the first separator decides which it is, and within a component the two change places
// (sysctl.d(5)).
func dotted(key string) string {
	first := strings.IndexAny(key, "./")
	if first < 0 || key[first] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, key)
}

// sysctlName refuses a name that would be another file than it looks like.
func sysctlName(name string, at field) error {
	for _, part := range strings.Split(name, ".") {
		if part == "" || part == "/" || part == "//" || strings.ContainsAny(part, "\x00\n") {
			return at.errorf("is not the name of a kernel parameter")
		}
	}
	return nil
}

// ipcSysctls are those an IPC namespace has its own value of, ipc_namespaces(7).
var ipcSysctls = []string{
	"kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.shm_next_id",
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.msg_next_id", "kernel.sem_next_id",
}

// sysctlScope refuses a parameter that belongs to no namespace of the pod's own.
func sysctlScope(name string, at field, p *spec.Pod) error {
	switch {
	case strings.HasPrefix(name, "net."):
		if p.Namespaces.Network == spec.ModeNode {
			return at.errorf("would change the host: the pod uses the host's network")
		}
	case strings.HasPrefix(name, "fs.mqueue.") || slices.Contains(ipcSysctls, name):
		if p.Namespaces.IPC == spec.ModeNode {
			return at.errorf("would change the host: the pod uses the host's IPC namespace")
		}
	case name == "kernel.domainname":
		if !p.OwnsUTS() {
			return at.errorf("would change the host: the pod uses the host's UTS namespace")
		}
	case name == "kernel.hostname":
		return at.errorf("is set by the field hostname")
	default:
		return at.errorf("belongs to no namespace, setting it would change the host")
	}
	return nil
}
