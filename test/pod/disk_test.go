package pod

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a block device, as far as the file system on it can tell, that loses what was not flushed when
// its power is cut. It is a file of a FUSE file system below a loop device, which passes on a flush
// as fsync(2) (drivers/block/loop.c, lo_req_flush).
type disk struct {
	fs.Inode
	file string // where it is

	mu      sync.Mutex // guards what follows
	current []byte     // what reads see
	durable []byte     // what was flushed
	pending []write    // since then, in order
}

// write is one that the disk has taken and may lose.
type write struct {
	off  int64
	data []byte
}

// sector is what a disk writes as a whole or not at all.
const sector = 512

var (
	_ fs.NodeGetattrer = (*disk)(nil)
	_ fs.NodeSetattrer = (*disk)(nil)
	_ fs.NodeOpener    = (*disk)(nil)
	_ fs.NodeReader    = (*disk)(nil)
	_ fs.NodeWriter    = (*disk)(nil)
	_ fs.NodeFsyncer   = (*disk)(nil)
)

// newDisk attaches a disk of size bytes with an empty file system.
func newDisk(t *testing.T, size int) *disk {
	t.Helper()
	d := &disk{current: make([]byte, size), durable: make([]byte, size)}
	dir := filepath.Join(t.TempDir(), "fuse")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, MaxWrite: 128 << 10, FsName: "disk", Name: "tare"},
		OnAdd: func(ctx context.Context) {
			root.AddChild("disk", root.NewPersistentInode(ctx, d, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	keepFuse(t)
	d.file = filepath.Join(dir, "disk")
	if _, err := run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.file); err != nil {
		t.Fatal(err)
	}
	return d
}

// mountLoop mounts a disk or an image of one until the function it returns is called.
func mountLoop(t *testing.T, image string) (dir string, unmount func()) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "mnt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run("mount", "-o", "loop", image, dir); err != nil {
		t.Fatal(err)
	}
	unmount = sync.OnceFunc(func() {
		if _, err := run("umount", dir); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	return dir, unmount
}

// cut writes into file what a disk may hold that lost its power this moment: all that was flushed, and of the
// rest whatever sectors.
func (d *disk) cut(random *rand.Rand, file string) error {
	d.mu.Lock()
	left := bytes.Clone(d.durable)
	for _, w := range d.pending {
		for off := 0; off < len(w.data); off += sector {
			if random.IntN(2) == 0 {
				copy(left[w.off+int64(off):], w.data[off:min(off+sector, len(w.data))])
			}
		}
	}
	d.mu.Unlock()
	return writeSparse(file, left)
}

// writeSparse leaves out what is zero.
func writeSparse(file string, data []byte) error {
	const block = 4096
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zero := make([]byte, block)
	for off := 0; off < len(data); off += block {
		if b := data[off : off+block]; !bytes.Equal(b, zero) {
			if _, err := f.WriteAt(b, int64(off)); err != nil {
				return err
			}
		}
	}
	return f.Truncate(int64(len(data)))
}

func (d *disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(len(d.current))
	return 0
}

// Setattr is asked for times only: the size stays.
func (d *disk) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out)
}

// Open has the kernel keep nothing of the file: what is written comes here at once.
func (d *disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (d *disk) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fuse.ReadResultData(dest[:copy(dest, d.current[off:])]), 0
}

func (d *disk) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(data)) > int64(len(d.current)) {
		return 0, syscall.ENOSPC
	}
	copy(d.current[off:], data)
	d.pending = append(d.pending, write{off, bytes.Clone(data)})
	return uint32(len(data)), 0
}

func (d *disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.pending {
		copy(d.durable[w.off:], w.data)
	}
	d.pending = nil
	return 0
}

// TestDisk makes sure that the disk is one: what was synced is there after a cut, and what was not is
// lost at times.
func TestDisk(t *testing.T) {
	d := newDisk(t, 32<<20)
	dir, _ := mountLoop(t, d.file)
	random := rand.New(rand.NewPCG(1, 2))
	lost := 0
	const rounds = 8
	for i := range rounds {
		synced, unsynced := fmt.Sprintf("synced%d", i), fmt.Sprintf("unsynced%d", i)
		writeFile(t, filepath.Join(dir, synced), "text")
		if _, err := run("sync", "-f", filepath.Join(dir, synced)); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, unsynced), "text")
		left := filepath.Join(t.TempDir(), "cut")
		if err := d.cut(random, left); err != nil {
			t.Fatal(err)
		}
		after, unmount := mountLoop(t, left)
		if text, err := os.ReadFile(filepath.Join(after, synced)); string(text) != "text" {
			t.Errorf("what was synced is %q, %v", text, err)
		}
		if text, _ := os.ReadFile(filepath.Join(after, unsynced)); string(text) != "text" {
			lost++
		}
		unmount()
	}
	if lost == 0 {
		t.Errorf("nothing that was not synced was lost in %d cuts", rounds)
	}
}
