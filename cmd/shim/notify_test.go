package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestNotifier listens as a service manager does.
func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "6000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n, err := newNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if n.watchdog != 6*time.Second {
		t.Errorf("watchdog %s, want 6s", n.watchdog)
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left to children", name, v)
		}
	}
	for _, c := range []struct {
		tell func() error
		want string
	}{
		{n.ready, `READY=1\nSTATUS=.+`},
		{n.reloading, `RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=.+`},
		{n.stopping, `STOPPING=1\nSTATUS=.+`},
		{n.alive, `WATCHDOG=1`},
		{func() error { return n.status("a %s\nline", "second") }, `STATUS=a second; line`},
	} {
		if err := c.tell(); err != nil {
			t.Fatal(err)
		}
		var buf [512]byte
		got, err := l.Read(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		if text := string(buf[:got]); !regexp.MustCompile("^" + c.want + "$").MatchString(text) {
			t.Errorf("%q, want %s", text, c.want)
		}
	}
}

func TestNobodyToNotify(t *testing.T) {
	for _, c := range []struct{ name, usec, pid, err string }{
		{name: "nothing set"},
		{name: "watchdog of another process", usec: "1000000", pid: "1"},
		{name: "no number", usec: "soon", err: "WATCHDOG_USEC"},
		{name: "zero", usec: "0", err: "WATCHDOG_USEC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", "")
			t.Setenv("WATCHDOG_USEC", c.usec)
			t.Setenv("WATCHDOG_PID", c.pid)
			n, err := newNotifier()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want an error about %s", err, c.err)
				}
				return
			}
			if err != nil || n.watchdog != 0 || n.ready() != nil {
				t.Errorf("%+v, %v", n, err)
			}
		})
	}
}
