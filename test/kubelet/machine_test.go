package kubelet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nodeIP is the node's address, of a link that leads nowhere.
const nodeIP = "192.0.2.10"

// machine is a node: a kubelet, the runtime it drives, and what both find on the host.
type machine struct {
	dir, bin string // absolute

	registry *process
	daemon   *process
	kubelet  *process
	clients
	cgroups
}

// newMachine prepares the host; nothing runs yet.
func newMachine() (*machine, error) {
	// Not in the package's own directory: socket paths end at 107 bytes, unix(7).
	dir, err := os.MkdirTemp("", "tare-kubelet-")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, cgroups: newCgroups()}
	if m.bin, err = filepath.Abs(*bin); err != nil {
		return nil, err
	}
	for _, name := range []string{"manifests", "net.d", "cdi"} {
		if err := os.Mkdir(m.path(name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(address(), m.tunables()); err != nil {
		return nil, err
	}
	_, err = m.run("leak", "take", m.path("before.json"))
	return m, errors.Join(err, m.cgroups.make())
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

// address gives the enclosure a link besides loopback: a kubelet wants an address and a default
// route.
func address() error {
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	addr, err := netlink.ParseAddr(nodeIP + "/24")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
		return fmt.Errorf("set up link: %w", err)
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all})
}

// settings are what a kubelet makes of a kernel (pkg/kubelet/cm, setupKernelTunables).
var settings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// tunables puts files in the place of settings that are the whole machine's, so that the kubelet
// finds them as it wants them. A pod's user namespace may mount proc only as long as there is one
// with nothing in such places (mount_too_revealing in fs/namespace.c).
func (m *machine) tunables() error {
	bare := m.path("proc")
	errs := []error{os.Mkdir(bare, 0o755), unix.Mount("proc", bare, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")}
	for name, value := range settings {
		file := m.path("sysctl-" + strings.ReplaceAll(name, "/", "."))
		errs = append(errs, os.WriteFile(file, []byte(value+"\n"), 0o644),
			unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""))
	}
	return errors.Join(errs...)
}

// restoreTunables ends the mounts of tunables.
func (m *machine) restoreTunables() error {
	errs := []error{unix.Unmount(m.path("proc"), 0)}
	for name := range settings {
		errs = append(errs, unix.Unmount("/proc/sys/"+name, 0))
	}
	return errors.Join(errs...)
}
