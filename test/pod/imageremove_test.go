package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// sameImage are tags of one image.
var sameImage = []string{
	registry.LocalHost + "/k8s-staging-cri-tools/test-image-tags:1",
	registry.LocalHost + "/k8s-staging-cri-tools/test-image-tags:2",
	registry.LocalHost + "/k8s-staging-cri-tools/test-image-tags:3",
}

// TestRemoveImage: by whichever name, the image goes with all its names, how ever many ask for it.
func TestRemoveImage(t *testing.T) {
	d := ownDaemon(t, options{config: `images.pinned = ["*/test-image-tags:*"]`})
	d.pull(t, layers) // for the directories that stay
	d.removeImage(t, layers)
	before := imageStore(t, d)
	for _, by := range []func(*runtime.Image) string{
		func(i *runtime.Image) string { return i.RepoTags[1] },
		func(i *runtime.Image) string { return i.RepoDigests[0] },
		func(i *runtime.Image) string { return i.Id },
		func(i *runtime.Image) string { return i.Id[7:19] },
	} {
		for _, ref := range sameImage {
			d.pull(t, ref)
		}
		i := d.imageStatus(t, sameImage[0])
		if !slices.Equal(i.RepoTags, sameImage) || !i.Pinned {
			t.Errorf("tags %v, pinned %t", i.RepoTags, i.Pinned)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { d.removeImage(t, by(i)) })
		}
		all.Wait()
		d.removeImage(t, by(i))
		if left := d.listImages(t, ""); len(left) != 0 {
			t.Errorf("after the removal of %s: %v", by(i), left)
		}
		for _, name := range append(sameImage, i.Id) {
			if i := d.imageStatus(t, name); i != nil {
				t.Errorf("%s is still %v", name, i)
			}
		}
		sameStore(t, d, before)
	}
	d.removeImage(t, "never/was:here")
}

// TestRemoveImageInUse: a container goes on with what it was made of, and the disk is free when it is
// gone, also if the daemon was killed meanwhile.
func TestRemoveImageInUse(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, layers)
	d.removeImage(t, layers)
	before := imageStore(t, d)
	d.pull(t, layers)
	p := d.runPod(t)
	c := p.start(sleeper, image(layers))
	waiting := p.create(sleeper, image(layers))
	d.removeImage(t, layers)
	d.signal(syscall.SIGKILL)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if err := waiting.tryStart(); err != nil {
		t.Errorf("start of a container whose image was removed: %v", err)
	}
	if got := c.exec("ls -d /bin/busybox"); got != "/bin/busybox\n" {
		t.Errorf("the container says %q", got)
	}
	if _, err := p.tryCreate(p.containerConfig(image(layers))); err == nil {
		t.Error("a container was made of a removed image")
	}
	for _, c := range []*ctr{c, waiting} {
		c.stop(0)
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
	}
	sameStore(t, d, before)
}

// TestImageFsInfo: bytes and inodes are those of the files, and follow them.
func TestImageFsInfo(t *testing.T) {
	d := ownDaemon(t, options{})
	usage := func() *runtime.FilesystemUsage {
		resp, err := d.images.ImageFsInfo(deadline(t), &runtime.ImageFsInfoRequest{})
		if err != nil || len(resp.ImageFilesystems) != 1 || len(resp.ContainerFilesystems) != 1 {
			t.Fatal(resp, err)
		}
		for _, fs := range []*runtime.FilesystemUsage{resp.ImageFilesystems[0], resp.ContainerFilesystems[0]} {
			if _, err := os.Stat(fs.FsId.GetMountpoint()); err != nil || fs.Timestamp <= 0 || fs.UsedBytes == nil || fs.InodesUsed == nil {
				t.Errorf("%v, %v", fs, err)
			}
		}
		return resp.ImageFilesystems[0]
	}
	if u := usage(); u.UsedBytes.Value != 0 || u.InodesUsed.Value != 0 {
		t.Errorf("an empty store uses %v", u)
	}
	d.pull(t, layers)
	await(t, "usage is that of the files", func() error {
		bytes, inodes := measure(t, d.path("root/images/content/blobs/sha256/*"), d.path("root/images/overlay/snapshots/*/fs"))
		u := usage()
		if got := u.UsedBytes.Value; got < bytes*9/10 || got > bytes {
			return fmt.Errorf("%d bytes, the files have %d", got, bytes)
		}
		if got := u.InodesUsed.Value; got < inodes*9/10 || got > inodes {
			return fmt.Errorf("%d inodes, there are %d", got, inodes)
		}
		return nil
	})
	d.removeImage(t, layers)
	if u := usage(); u.UsedBytes.Value != 0 || u.InodesUsed.Value != 0 {
		t.Errorf("after the removal: %v", u)
	}
}

// measure adds up disk blocks and inodes of what patterns name and all below.
func measure(t *testing.T, patterns ...string) (bytes, inodes uint64) {
	t.Helper()
	var dirs []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, found...)
	}
	seen := map[uint64]bool{} // inodes that several names lead to
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			var st syscall.Stat_t
			if err == nil {
				err = syscall.Lstat(path, &st)
			}
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				return nil
			}
			if err != nil {
				return err
			}
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
			bytes, inodes = bytes+uint64(st.Blocks)*512, inodes+1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return bytes, inodes
}
