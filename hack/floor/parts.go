package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// files and fileSize are a hundredth of the layer of the pull that cri-bench measures.
const (
	files    = 40
	fileSize = 12 << 10
)

// allParts lists what is measured, with dir for files and a container to execute in.
func allParts(dir string, c *container) []part {
	n := &network{}
	return []part{
		{"fork, execve of true, exit, wait", execTrue(false), nil},
		{"the same in new mount, PID, cgroup, IPC and UTS namespaces", execTrue(true), nil},
		{"two forks into a container's cgroups and namespaces, execve of true, its output, wait", c.execTrue, nil},
		{"a network namespace", n.makeNamespace, nil},
		{"a veth pair into it, address, route", n.connect, n.disconnect},
		{"an overlay, detached", overlay(dir), nil},
		{"a directory in each cgroup hierarchy, entered by nobody", makeCgroups, removeCgroups},
		{fmt.Sprintf("%d files of 12 KiB, not synced", files), writeFiles(dir), func() error { return os.RemoveAll(filepath.Join(dir, "files")) }},
		{"a record written and renamed on /run", writeRecord, nil},
	}
}

func execTrue(namespaces bool) func() error {
	return func() error {
		b := nsutil.NewBuilder()
		if namespaces {
			b.CloneFlags(unix.CLONE_NEWPID)
			b.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
		}
		b.Exec([]string{"/bin/true"}, []string{"true"}, nil)
		_, err := nsutil.Run(b.Program())
		return err
	}
}

// network is a namespace with a link into it.
type network struct{ ns *os.File }

func (n *network) makeNamespace() error {
	if n.ns != nil {
		n.ns.Close()
	}
	b := nsutil.NewBuilder()
	b.Unshare(unix.CLONE_NEWNET)
	b.Give("namespace", b.Open("/proc/self/ns/net", unix.O_RDONLY))
	b.Exit()
	given, err := nsutil.Run(b.Program())
	if err != nil {
		return err
	}
	n.ns = given[0]
	return nil
}

// hostSide is the name of the link on the host.
func hostSide() string { return "floor" + strconv.Itoa(os.Getpid()) }

func (n *network) connect() error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: hostSide(), Flags: net.FlagUp}, PeerName: "eth0", PeerNamespace: netlink.NsFd(n.ns.Fd())}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("make veth: %w", err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(n.ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr("198.51.100.2/24") // RFC 5737, seen by nobody
	if err != nil {
		return err
	}
	return errors.Join(h.AddrAdd(eth0, address), h.LinkSetUp(eth0),
		h.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: []byte{198, 51, 100, 1}}))
}

func (n *network) disconnect() error {
	return netlink.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: hostSide()}})
}

func overlay(dir string) func() error {
	return func() error {
		for _, d := range []string{"lower", "upper", "work"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				return err
			}
		}
		fs, err := nsutil.FSOpen("overlay")
		if err != nil {
			return err
		}
		defer fs.Close()
		for _, o := range [][2]string{{"lowerdir+", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
			if err := fs.SetString(o[0], filepath.Join(dir, o[1])); err != nil {
				return err
			}
		}
		root, err := fs.Mount(0)
		if err != nil {
			return err
		}
		return root.Close()
	}
}

// cgroups are a directory of this program's in each hierarchy.
func cgroups(what string) []string {
	name := "tare-floor-" + what + "-" + strconv.Itoa(os.Getpid())
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{filepath.Join("/sys/fs/cgroup", name)}
	}
	var dirs []string
	for _, controller := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"} {
		dirs = append(dirs, filepath.Join("/sys/fs/cgroup", controller, name))
	}
	return dirs
}

func makeCgroups() error {
	for _, dir := range cgroups("empty") {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func removeCgroups() error {
	var errs []error
	for _, dir := range cgroups("empty") {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}

func writeFiles(dir string) func() error {
	data := make([]byte, fileSize)
	return func() error {
		if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
			return err
		}
		for i := range files {
			if err := os.WriteFile(filepath.Join(dir, "files", strconv.Itoa(i)), data, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

// writeRecord writes as much as the record of a pod with a container is.
func writeRecord() error {
	path := "/run/tare-floor-" + strconv.Itoa(os.Getpid())
	defer os.Remove(path)
	if err := os.WriteFile(path+".tmp", make([]byte, 8<<10), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
