package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// hanging is a file system that shows a directory of the host and, when told to, answers nothing any more, as a
// network's does whose server is gone.
type hanging struct {
	fuse.RawFileSystem
	dir string // where it is mounted

	mu     sync.Mutex // guards what follows
	closed chan struct{}
}

// newHanging mounts one, which answers.
func newHanging(t *testing.T) *hanging {
	t.Helper()
	shown := t.TempDir()
	writeFile(t, filepath.Join(shown, "file"), "text\n")
	h := &hanging{}
	h.dir = mountFuse(t, "hanging", shown, func(raw fuse.RawFileSystem) fuse.RawFileSystem {
		h.RawFileSystem = raw
		return h
	})
	t.Cleanup(h.answer) // before it is unmounted
	return h
}

// mountFuse mounts what made makes of a directory's file system, until the test is over.
func mountFuse(t *testing.T, name, shown string, made func(fuse.RawFileSystem) fuse.RawFileSystem) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := fs.NewLoopbackRoot(shown)
	if err != nil {
		t.Fatal(err)
	}
	server, err := fuse.NewServer(made(fs.NewNodeFS(root, &fs.Options{})), dir, &fuse.MountOptions{DirectMountStrict: true, AllowOther: true, FsName: name, Name: "tare"})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve() // ends with Unmount
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	keepFuse(t)
	t.Cleanup(func() { await(t, "the file system "+name+" is unmounted", server.Unmount) })
	return dir
}

// keepFuse has no daemon that is started inherit the connections of the test's file systems, which the library
// opens without O_CLOEXEC.
func keepFuse(t *testing.T) {
	t.Helper()
	own, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range own {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || target != "/dev/fuse" {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		unix.CloseOnExec(fd)
	}
}

// hang has every request from now on wait for answer.
func (h *hanging) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.closed = make(chan struct{})
	}
}

func (h *hanging) answer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		close(h.closed)
		h.closed = nil
	}
}

func (h *hanging) wait() {
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

// The requests that programs wait for.

func (h *hanging) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.Lookup(cancel, header, name, out)
}

func (h *hanging) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.GetAttr(cancel, in, out)
}

func (h *hanging) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.Create(cancel, in, name, out)
}

func (h *hanging) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.Open(cancel, in, out)
}

func (h *hanging) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.OpenDir(cancel, in, out)
}

func (h *hanging) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h.wait()
	return h.RawFileSystem.Read(cancel, in, buf)
}

func (h *hanging) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h.wait()
	return h.RawFileSystem.Write(cancel, in, data)
}

func (h *hanging) StatFs(cancel <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	h.wait()
	return h.RawFileSystem.StatFs(cancel, header, out)
}

// opens waits until a container's process, cat, is in the kernel to open its file (proc_pid_syscall(5)).
func (c *ctr) opens() {
	c.t.Helper()
	pid := c.pid()
	await(c.t, "cat opens its file", func() error {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return err
		}
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		if err != nil {
			return err
		}
		if number, _, _ := strings.Cut(string(call), " "); string(name) != "cat\n" || !slices.Contains(openCalls, number) {
			return fmt.Errorf("%sis at %s", name, call)
		}
		return nil
	})
}

// openCalls are the numbers of openat(2), and of open(2) where there is one: amd64.
var openCalls = []string{strconv.Itoa(unix.SYS_OPENAT), "2"}
