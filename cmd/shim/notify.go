package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells the service manager how the daemon is, sd_notify(3). Without a service manager it
// has nobody to tell.
type notifier struct {
	address  *net.UnixAddr // nil: nobody asked
	watchdog time.Duration // how long the daemon may be silent, sd_watchdog_enabled(3); 0: for ever
}

// newNotifier takes what the service manager asks for out of the environment, so that no program
// that is run speaks in the daemon's name.
func newNotifier() (*notifier, error) {
	n := &notifier{}
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		n.address = &net.UnixAddr{Net: "unixgram", Name: socket}
	}
	limit, whose := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if limit != "" && (whose == "" || whose == strconv.Itoa(os.Getpid())) {
		us, err := strconv.ParseInt(limit, 10, 64)
		if err != nil || us <= 0 {
			return nil, fmt.Errorf("WATCHDOG_USEC=%q is no number of microseconds", limit)
		}
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n, errors.Join(os.Unsetenv("NOTIFY_SOCKET"), os.Unsetenv("WATCHDOG_USEC"), os.Unsetenv("WATCHDOG_PID"))
}

// ready says that the socket is served.
func (n *notifier) ready() error { return n.tell("READY=1", "STATUS=serving") }

// reloading says that the daemon starts over with another configuration, until it is ready.
func (n *notifier) reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000), "STATUS=loading the configuration")
}

// stopping says that the daemon ends.
func (n *notifier) stopping() error { return n.tell("STOPPING=1", "STATUS=stopping, containers go on") }

// status is a line for people, beside what the state is already.
func (n *notifier) status(format string, args ...any) error {
	return n.tell("STATUS=" + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// alive says that the daemon is healthy.
func (n *notifier) alive() error { return n.tell("WATCHDOG=1") }

func (n *notifier) tell(lines ...string) error {
	if n.address == nil {
		return nil
	}
	conn, err := net.DialUnix(n.address.Net, nil, n.address)
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
