//go:build crashpoints

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// orders are where they come from, and how far the present plan is.
var orders struct {
	mu    sync.Mutex
	dir   string
	plan  string
	count int
}

// pidFiles are the victims' in the state directory.
var pidFiles = map[string]string{"daemon": "tare.pid", "keeper": "keeper.pid"}

// Arm says in which state directory orders are looked for.
func Arm(stateDir string) {
	orders.mu.Lock()
	defer orders.mu.Unlock()
	orders.dir = stateDir
}

// Point is a moment to be killed at. When it is this process's turn, it does not return.
func Point(name string) {
	orders.mu.Lock()
	defer orders.mu.Unlock()
	if orders.dir == "" {
		return
	}
	if f, err := os.OpenFile(filepath.Join(orders.dir, "crash.trace"), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		fmt.Fprintln(f, name)
		f.Close()
	}
	path := filepath.Join(orders.dir, "crash.plan")
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	if plan := string(text); plan != orders.plan {
		orders.plan, orders.count = plan, 0
	}
	var at, victims string
	var n int
	if _, err := fmt.Sscan(orders.plan, &at, &n, &victims); err != nil || at != name {
		return
	}
	if orders.count++; orders.count == n && os.Remove(path) == nil {
		kill(victims)
	}
}

// kill ends the victims, this process as the last one, and says before whom.
func kill(victims string) {
	var pids []int
	for victim, file := range pidFiles {
		if victims != victim && victims != "both" {
			continue
		}
		text, _ := os.ReadFile(filepath.Join(orders.dir, file))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil { // else it does not run
			pids = append(pids, pid)
		}
	}
	path := filepath.Join(orders.dir, "crash.victims")
	_ = os.WriteFile(path+".new", fmt.Append(nil, pids), 0o600)
	_ = os.Rename(path+".new", path)
	for _, pid := range pids {
		if pid != os.Getpid() {
			end(pid)
		}
	}
	if slices.Contains(pids, os.Getpid()) {
		end(os.Getpid())
	}
}

// end kills a process and returns when it is dead.
func end(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if n == 1 || err != unix.EINTR {
			return
		}
	}
}
