package nsutil

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInNetNS shows that a socket made inside belongs there, that the error of the function comes
// back, and that every thread of the process is where it was afterwards.
func TestInNetNS(t *testing.T) {
	ns, err := NewNetNS()
	if err != nil {
		t.Skip(err)
	}
	defer ns.Close()
	before := threadsIn(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var inside os.FileInfo
			err := InNetNS(ns, func() (err error) {
				inside, err = os.Stat("/proc/thread-self/ns/net")
				return err
			})
			want, _ := ns.Stat()
			if err != nil || !os.SameFile(inside, want) {
				t.Errorf("inside: %v, %v", inside, err)
			}
		})
	}
	wg.Wait()
	for inode := range threadsIn(t) {
		if !before[inode] {
			t.Errorf("a thread is in network namespace %s now", inode)
		}
	}
	mine := errors.New("mine")
	if err := InNetNS(ns, func() error { return mine }); err != mine {
		t.Errorf("error %v, want the function's own", err)
	}
	// Its loopback device is down: nobody can be reached there.
	err = InNetNS(ns, func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err == nil {
			l.Close()
			_, err = net.Dial("tcp4", l.Addr().String())
		}
		return err
	})
	if err == nil {
		t.Error("a connection over a loopback device that is down")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := InNetNS(null, func() error { return nil }); err == nil {
		t.Error("no error for a file that is no namespace")
	}
}

// threadsIn lists the network namespaces that threads of this process are in.
func threadsIn(t *testing.T) map[string]bool {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, l := range links {
		if inode, err := os.Readlink(l); err == nil {
			out[fmt.Sprint(inode)] = true
		}
	}
	return out
}

func TestSetHostname(t *testing.T) {
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder()
	b.CloneFlags(unix.CLONE_NEWUTS)
	b.Give("namespace", b.Open("/proc/self/ns/uts", unix.O_RDONLY))
	uts := given(t, b)[0]
	if err := SetHostname(uts, "other"); err != nil {
		t.Fatal(err)
	}
	var inside string
	err = utsNS.within(uts, func() (err error) { inside, err = os.Hostname(); return err })
	if err != nil || inside != "other" {
		t.Errorf("inside: %q, %v", inside, err)
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("outside: %q, %v; want %q", after, err, before)
	}
	if err := SetHostname(uts, strings.Repeat("x", 65)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a name of 65 bytes: %v", err)
	}
}
