package sandbox

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/spec"
)

// Layout says where sandboxes live on the host.
type Layout struct {
	Dir   string // one directory per pod: DIR/<pod id>
	NetNS string // where network namespaces are bound: /var/run/netns
}

// PodDir is where a pod's files are.
func (l Layout) PodDir(id spec.PodID) string { return filepath.Join(l.Dir, string(id)) }

// NetNSPath is where a pod's network namespace is bound. Its name is unique on the host, whoever
// else binds there.
func (l Layout) NetNSPath(id spec.PodID) string {
	return filepath.Join(l.NetNS, "tare-"+id.Short())
}

// Plan is what one sandbox will consist of.
type Plan struct {
	ID      spec.PodID
	Dir     string // of the pod's files
	NetNS   string // path to bind the network namespace at; empty: the host's network
	Kinds   []Kind // the namespaces that are the pod's own, in the order the program gives them
	Program *nsutil.Program
	// Usual says that spare namespaces do as well as those the program makes, once they have the Hostname.
	Usual    bool
	Hostname string
	Shm      bool   // the pod has a /dev/shm of its own
	ShmUID   uint32 // host id of the /dev/shm's owner
	ShmGID   uint32
	Label    string // SELinux context of the /dev/shm; empty: none
	Files    []File
}

// Kind is a kind of namespace, by its name in /proc/PID/ns.
type Kind string

// The kinds a sandbox can own.
const (
	User Kind = "user"
	Net  Kind = "net"
	IPC  Kind = "ipc"
	UTS  Kind = "uts"
	Time Kind = "time"
)

var cloneFlag = map[Kind]uint64{
	User: unix.CLONE_NEWUSER, Net: unix.CLONE_NEWNET, IPC: unix.CLONE_NEWIPC, UTS: unix.CLONE_NEWUTS,
	Time: unix.CLONE_NEWTIME,
}

// Flag is the CLONE_NEW… flag of the kind.
func (k Kind) Flag() uint64 { return cloneFlag[k] }

// New plans the sandbox of a validated pod.
func New(id spec.PodID, pod *spec.Pod, l Layout) Plan {
	p := Plan{ID: id, Dir: l.PodDir(id), Kinds: kinds(pod), Files: files(pod)}
	if pod.Namespaces.Network == spec.ModePod {
		p.NetNS = l.NetNSPath(id)
	}
	if pod.Namespaces.IPC == spec.ModePod {
		p.Shm = true
		if u := pod.Namespaces.User; u != nil {
			p.ShmUID, p.ShmGID = u.UID.Host, u.GID.Host
		}
	}
	p.Program = program(pod, p.Kinds)
	p.Usual, p.Hostname = isUsual(pod, p.Kinds), pod.Hostname
	return p
}

// kinds lists what namespaces the pod owns. The user namespace comes first: the others belong to
// it. With the host's network goes the host's UTS namespace, as kubelets expect, which then give no
// hostname: the pod carries the host's. One that is given all the same has to have a place.
func kinds(pod *spec.Pod) []Kind {
	var out []Kind
	if pod.Namespaces.User != nil {
		out = append(out, User)
	}
	if pod.Namespaces.Network == spec.ModePod {
		out = append(out, Net)
	}
	if pod.OwnsUTS() {
		out = append(out, UTS)
	}
	if pod.Namespaces.IPC == spec.ModePod {
		out = append(out, IPC)
	}
	if pod.Clocks != nil {
		out = append(out, Time)
	}
	return out
}

// program makes the pod's namespaces, sets them up from inside, and gives them back as
// descriptors. Nil: the pod shares everything with the host.
func program(pod *spec.Pod, kinds []Kind) *nsutil.Program {
	if len(kinds) == 0 {
		return nil
	}
	b := nsutil.NewBuilder()
	var flags uint64
	for _, k := range kinds {
		if k != Time { // see shiftClocks
			flags |= k.Flag()
		}
	}
	if u := pod.Namespaces.User; u != nil {
		b.Unshare(unix.CLONE_NEWUSER)
		b.AwaitMaps(nsutil.IDMaps{UID: mapLine(u.UID), GID: mapLine(u.GID)})
		b.SetIDs(0, 0, nil)
		b.Unshare(flags &^ unix.CLONE_NEWUSER)
	} else {
		b.Unshare(flags)
	}
	if slices.Contains(kinds, UTS) && pod.Hostname != "" {
		b.SetHostname(pod.Hostname)
	}
	if slices.Contains(kinds, Net) {
		b.LoopbackUp()
	}
	if sysctls := sysctls(pod); len(sysctls) > 0 {
		SetSysctls(b, b.Open("/proc", unix.O_PATH).FD(), sysctls)
	}
	if pod.Clocks != nil {
		shiftClocks(b, pod)
	}
	give(b, kinds)
	b.Exit()
	return b.Program()
}

// SetSysctls sets kernel parameters by their names with dots. The process is the root of what they belong to by then; proc is the
// host's /proc, which shows each process the parameters of its own namespaces.
func SetSysctls(b *nsutil.Builder, proc nsutil.FD, values map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.Sysctl(proc, spec.SysctlPath(name), values[name])
	}
}

// shiftClocks makes the time namespace, which takes offsets only as long as nobody is in it: the
// process that unshares it stays outside, and its first process will be a container's
// (time_namespaces(7)). In a user namespace the file is the pod's root's only while the process is
// dumpable, which the change of ids ended (proc(5)); no container can see this process.
func shiftClocks(b *nsutil.Builder, pod *spec.Pod) {
	b.Unshare(unix.CLONE_NEWTIME)
	if pod.Namespaces.User != nil {
		b.Dumpable()
	}
	b.WriteFile(offsetsFile, offset("monotonic", pod.Clocks.Monotonic)+offset("boottime", pod.Clocks.Boottime))
}

// offsetsFile takes the offsets of the time namespace that children will be in, time_namespaces(7).
const offsetsFile = "/proc/self/timens_offsets"

// offset is a line of timens_offsets: whole seconds, rounded down, and nanoseconds on top.
func offset(clock string, d time.Duration) string {
	seconds, nanos := d/time.Second, d%time.Second
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+time.Second
	}
	return fmt.Sprintf("%s %d %d\n", clock, seconds, nanos)
}

func give(b *nsutil.Builder, kinds []Kind) {
	slots := make([]nsutil.Slot, len(kinds))
	for i, k := range kinds {
		name := string(k)
		if k == Time {
			name = "time_for_children"
		}
		slots[i] = b.Open("/proc/self/ns/"+name, unix.O_RDONLY)
	}
	b.Give("namespaces", slots...)
}

func mapLine(m spec.IDMap) string {
	return fmt.Sprintf("%d %d %d\n", m.Container, m.Host, m.Length)
}

// sysctls are the pod's own on top of the defaults every pod gets: ports below 1024 and ping
// without capabilities, harmless in a network namespace of one's own, as containerd has it.
func sysctls(pod *spec.Pod) map[string]string {
	out := map[string]string{}
	if pod.Namespaces.Network == spec.ModePod {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
		if u := pod.Namespaces.User; u != nil {
			// Only groups the user namespace maps can be named, icmp(7).
			out["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", u.GID.Length-1)
		}
	}
	maps.Copy(out, pod.Sysctls)
	return out
}
