package pod

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
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
	shown, dir := t.TempDir(), filepath.Join(t.TempDir(), "pts")
	writeFile(t, filepath.Join(shown, "ptmx"), "")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := fs.NewLoopbackRoot(shown)
	if err != nil {
		t.Fatal(err)
	}
	f = &ptmx{RawFileSystem: fs.NewNodeFS(root, &fs.Options{})}
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{DirectMountStrict: true, AllowOther: true, FsName: "terminals", Name: "tare"})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve() // ends with Unmount
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	keepFuse(t)
	t.Cleanup(func() { await(t, "the file system is unmounted", server.Unmount) })
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
