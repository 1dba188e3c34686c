package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketPath(t *testing.T) {
	for _, tt := range []struct {
		name, address, want string // no want: an error
	}{
		{"url", "unix:///run/tare/tare.sock", "/run/tare/tare.sock"},
		{"short url", "unix:/run/x", "/run/x"},
		{"bare path", "/run/x", "/run/x"},
		{"relative", "run/x", ""},
		{"relative url", "unix://run/x", ""},
		{"tcp", "tcp://127.0.0.1:1", ""},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := socketPath(tt.address)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestListen(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sockets belong to root")
	}
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v, want a socket of mode 0660", st, err)
	}
	if _, err := listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "another runtime") {
		t.Errorf("a second listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListenReplacesDeadSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sockets belong to root")
	}
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()

	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "x" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
}
