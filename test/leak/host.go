package leak

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// mounts reads the mount table of this process (proc_pid_mountinfo(5)).
func mounts(s Snapshot) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if ok && len(left) >= 5 && len(right) >= 1 {
			s.add("mount %s %s", left[4], right[0])
		}
	}
	return nil
}

func links(s Snapshot) error {
	list, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range list {
		s.add("link %s %s", l.Attrs().Name, l.Type())
	}
	return nil
}

// chains lists nftables' tables and chains, iptables-nft's among them.
func chains(s Snapshot) error {
	var c nftables.Conn
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		s.add("nft table %s %s", family(t.Family), t.Name)
	}
	list, err := c.ListChains()
	if err != nil {
		return err
	}
	for _, ch := range list {
		s.add("nft chain %s %s %s", family(ch.Table.Family), ch.Table.Name, ch.Name)
	}
	return nil
}

func family(f nftables.TableFamily) string {
	names := map[nftables.TableFamily]string{
		nftables.TableFamilyINet:   "inet",
		nftables.TableFamilyIPv4:   "ip",
		nftables.TableFamilyIPv6:   "ip6",
		nftables.TableFamilyARP:    "arp",
		nftables.TableFamilyNetdev: "netdev",
		nftables.TableFamilyBridge: "bridge",
	}
	return names[f]
}

// cgroups lists the directories of every hierarchy, v1 and v2, but for those whose
// processes are all someone else's: sessions and services come and go.
func cgroups(s Snapshot) error {
	only := os.Getenv("TARE_LEAK_CGROUPS")
	return walk("/sys/fs/cgroup", func(path string, d fs.DirEntry) {
		if d.IsDir() && strings.Contains(path+"/", only+"/") && !foreign(path) {
			s.add("cgroup %s", path)
		}
	})
}

// foreign tells whether a cgroup holds processes, and none of ours.
func foreign(cgroup string) bool {
	procs, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	if err != nil {
		return false
	}
	pids := strings.Fields(string(procs))
	for _, pid := range pids {
		if ours(filepath.Join("/proc", pid)) {
			return false
		}
	}
	return len(pids) > 0
}

// files lists what is below dirs, which need not exist.
func files(s Snapshot, dirs []string) error {
	for _, dir := range dirs {
		err := walk(dir, func(path string, _ fs.DirEntry) {
			if path != dir {
				s.add("file %s", path)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// walk calls visit for what is at and below root, and overlooks what goes away
// meanwhile.
func walk(root string, visit func(string, fs.DirEntry)) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		visit(path, d)
		return nil
	})
}
