package stats

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func fdDir(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/fd" }

// descriptors counts a process's open files. The size of the directory is their number since Linux 6.2
// (commit f1f1f2569901, "proc: report open files as size in stat() for /proc/pid/fd"); before, it is 0 and
// the directory has to be listed. A process that has ended has none.
func descriptors(pid int) uint64 {
	var st unix.Stat_t
	if unix.Stat(fdDir(pid), &st) != nil {
		return 0
	}
	if st.Size > 0 {
		return uint64(st.Size)
	}
	return uint64(len(fds(pid)))
}

func fds(pid int) []string {
	d, err := os.Open(fdDir(pid))
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // what was read before it ended counts
	return names
}

// openSockets counts those of a process's open files that are sockets.
func openSockets(pid int) uint64 {
	var n uint64
	for _, fd := range fds(pid) {
		target, err := os.Readlink(fdDir(pid) + "/" + fd)
		if err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
