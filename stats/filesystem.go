package stats

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Filesystem is the one that writable layers are on.
type Filesystem struct {
	Device                  string // below /dev; empty if it is on none
	Bytes                   uint64
	InodesTotal, InodesFree uint64
}

// Filesystem reads the state of the filesystem that writable layers are on.
func (c *Collector) Filesystem() (Filesystem, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.layers, &fs); err != nil {
		return Filesystem{}, fmt.Errorf("read filesystem of writable layers: %w", &os.PathError{Op: "statfs", Path: c.layers, Err: err})
	}
	var st unix.Stat_t
	if err := unix.Stat(c.layers, &st); err != nil {
		return Filesystem{}, fmt.Errorf("read filesystem of writable layers: %w", &os.PathError{Op: "stat", Path: c.layers, Err: err})
	}
	return Filesystem{
		Device: c.devices.name(unix.Major(st.Dev), unix.Minor(st.Dev)),
		Bytes:  fs.Blocks * uint64(fs.Bsize), InodesTotal: fs.Files, InodesFree: fs.Ffree,
	}, nil
}

// filesystemName is one name for one filesystem: the kubelet takes different mount points of layers
// and images for a split of them over two filesystems (kubelet container_gc.go, IsContainerFsSeparateFromImageFs).
func filesystemName(o Options) (string, error) {
	layers, err := os.Stat(o.Layers)
	if err != nil {
		return "", err
	}
	images, err := os.Stat(o.Images)
	if err != nil {
		return "", err
	}
	if deviceOf(layers) == deviceOf(images) {
		return o.Images, nil
	}
	return o.Layers, nil
}

// deviceOf is the number of the filesystem a file is on.
func deviceOf(f os.FileInfo) uint64 { return uint64(f.Sys().(*syscall.Stat_t).Dev) }

// deviceNames remembers the names of block devices.
type deviceNames struct {
	mu    sync.Mutex // guards names
	names map[[2]uint32]string
}

// name is a block device's name below /dev, or its number if it has none: /sys/dev/block/MAJOR:MINOR is a
// link to its directory (Documentation/ABI/testing/sysfs-dev).
func (d *deviceNames) name(major, minor uint32) string {
	key := [2]uint32{major, minor}
	d.mu.Lock()
	defer d.mu.Unlock()
	if name, ok := d.names[key]; ok {
		return name
	}
	name := fmt.Sprintf("%d:%d", major, minor)
	if target, err := os.Readlink("/sys/dev/block/" + name); err == nil {
		name = filepath.Base(target)
	}
	if d.names == nil {
		d.names = map[[2]uint32]string{}
	}
	d.names[key] = name
	return name
}
