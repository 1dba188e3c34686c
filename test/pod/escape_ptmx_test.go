package pod

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ptmx is a file system whose file ptmx answers every ioctl(2) with a number of its choice, where a terminal's would with a
// descriptor that the kernel has just made.
type ptmx struct {
	fuse.RawFileSystem
	answer atomic.Int32
}

func (f *ptmx) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, _ []byte, out *fuse.IoctlOut, _ []byte) fuse.Status {
	if out.Result = 0; in.Cmd == 0x5441 { // TIOCGPTPEER
		out.Result = f.answer.Load()
	}
	return fuse.OK
}

func newPtmx(t *testing.T) (f *ptmx, dir string) {
	t.Helper()
	shown := t.TempDir()
	writeFile(t, filepath.Join(shown, "ptmx"), "")
	f = &ptmx{}
	dir = mountFuse(t, "pts", shown, func(raw fuse.RawFileSystem) fuse.RawFileSystem {
		f.RawFileSystem = raw
		return f
	})
	return f, dir
}

// TestEscapePtmx has a container's /dev/pts be somebody's file system (FUSE), which a container that may mount can see to by itself. A
// command with a terminal gets none of the descriptors there are on the way to it (CVE-2024-21626 is what such a one is good for).
func TestEscapePtmx(t *testing.T) {
	f, dir := newPtmx(t)
	leavesNothing(t, suite.shared)
	nullStays(t) // the keeper's own standard input is among them
	p := suite.shared.runPod(t)
	c := p.start(sleeper, asUser(1000), func(c *runtime.ContainerConfig) {
		c.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/dev/pts"}}
	})
	for n := range int32(40) {
		f.answer.Store(n)
		s := c.session(asked{tty: true}, "sh", "-c", "readlink /proc/self/fd/0 > /tmp/got; ls -d /proc/self/fd/0/../.. >> /tmp/got")
		s.finish()
		if got := c.exec("cat /tmp/got 2>/dev/null; rm -f /tmp/got"); got != "" && !strings.HasPrefix(got, "/dev/pts/ptmx\n") {
			t.Errorf("descriptor %d as a terminal: %q", n, got)
		}
	}
}
