package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare/crash"
	"tare/nsutil"
)

const (
	lockName     = "tare.pid"    // held locked by the daemon; contains its pid
	settingsName = "daemon.json" // what it runs with
)

// instance is the right to a state directory: its owner is the one daemon, or the one command
// that stands in for it, which works there.
type instance struct {
	state string
	lock  *os.File
}

// runningError is that a state directory is in use.
type runningError struct {
	state string
	pid   int
}

func (e *runningError) Error() string {
	return fmt.Sprintf("a daemon (pid %d) already runs with the state directory %s: stop it first (tare stop --state %[2]s), or give this one other paths (--state, --root, --listen)", e.pid, e.state)
}

// isRunning tells whether an error is that a daemon has the state directory.
func isRunning(err error) bool {
	_, ok := errors.AsType[*runningError](err)
	return ok
}

// claim locks a state directory, which it makes if needed. A *runningError if somebody else has it.
func claim(state string) (*instance, error) {
	// Others may pass, to the socket, whose own mode says who may use it, and read nothing.
	if err := os.MkdirAll(state, 0o711); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(state, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the state directory: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			defer f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, &runningError{state, lockedBy(f)}
			}
			return nil, fmt.Errorf("lock the state directory: %w", &os.PathError{Op: "flock", Path: path, Err: err})
		}
		if !sameFile(f, path) { // its last owner removed it just now
			f.Close()
			continue
		}
		i := &instance{state, f}
		if err := i.sign(); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock the state directory: %w", err)
		}
		crash.Arm(state)
		return i, nil
	}
}

// sign writes this process's pid over the last one's, in as many bytes: on a full disk, too, a daemon can start.
func (i *instance) sign() error {
	_, err := i.lock.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	return err
}

func sameFile(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

func lockedBy(f *os.File) int {
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}

// release gives up the lock.
func (i *instance) release() error { return i.lock.Close() }

// clear removes what a daemon leaves in the state directory, and the directory if nothing else is
// in it; then it gives up the lock.
func (i *instance) clear() error {
	var errs []error
	for _, name := range []string{recordsDir, "bundles", "rootfs", "cni", settingsName, "keeper.log", "keeper.pid", lockName} {
		errs = append(errs, os.RemoveAll(filepath.Join(i.state, name)))
	}
	// It may be a mount point, too.
	if err := os.Remove(i.state); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, i.release())...)
}

// record writes down what the daemon runs with.
func (i *instance) record(s settings) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	path := filepath.Join(i.state, settingsName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("record settings: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

// recorded reads what the last daemon with this state directory ran with. No daemon, or one that was
// stopped with all it had: fs.ErrNotExist.
func recorded(state string) (settings, error) {
	path := filepath.Join(state, settingsName)
	data, err := os.ReadFile(path)
	if err != nil {
		return settings{}, err
	}
	var s settings
	if err := json.Unmarshal(data, &s); err != nil {
		return settings{}, fmt.Errorf("read %s: %w", path, err)
	}
	s.State = state // it may have been reached by another name
	return s, nil
}

// ended is a daemon that was ended; the zero value: there was none.
type ended struct {
	pid  int
	unit string // of systemd's, which starts another
}

// endDaemon has the daemon of a state directory end, and waits for that.
func endDaemon(state string, patience time.Duration) (ended, error) {
	path := filepath.Join(state, lockName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ended{}, nil
	}
	if err != nil {
		return ended{}, err
	}
	defer f.Close()
	pid := lockedBy(f)
	// The handle first, then the look at the lock: if the lock is held then, the handle is the
	// owner's and not a later process's of the same number.
	handle, err := nsutil.PidfdOpen(pid)
	free := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
	if err == nil {
		defer handle.Close()
	}
	if free || errors.Is(err, unix.ESRCH) {
		return ended{}, nil
	}
	if err != nil {
		return ended{}, fmt.Errorf("end the daemon: %w", err)
	}
	daemon := ended{pid, unitOf(pid)}
	if err := nsutil.PidfdSignal(handle, unix.SIGTERM); err != nil {
		return ended{}, fmt.Errorf("end the daemon: %w", err)
	}
	return daemon, awaitEnd(handle, patience, fmt.Sprintf("the daemon (pid %d)", pid))
}

// unitOf is the service of systemd's that a process is the main one of, "" if it is of none: services tell
// how they are (systemd.service(5), Type=notify), and have a control group of the unit's name.
func unitOf(pid int) string {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	environment, _ := os.ReadFile(filepath.Join(proc, "environ"))
	if !bytes.Contains(environment, []byte("NOTIFY_SOCKET=")) {
		return ""
	}
	groups, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	for line := range strings.Lines(string(groups)) {
		if unit := filepath.Base(strings.TrimSpace(line)); strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// awaitEnd waits until a process has ended.
func awaitEnd(handle *os.File, patience time.Duration, who string) error {
	ended, err := nsutil.PidfdAwaitEnd(handle, patience)
	if err == nil && !ended {
		return fmt.Errorf("%s does not end within %s", who, patience)
	}
	return err
}
