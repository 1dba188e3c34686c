package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"tare/test/enclose"
)

// diskSize is the room for images of a few runtimes; the file has holes.
const diskSize = 32 << 30

// ownDisk gives an enclosure a file system of its own at dir, ext4 with its defaults, as nodes have it: what the
// machine's disk does beside this, or how it was made, counts less. Without a journal, for one, ext4 does not
// use an inode for a minute after it was freed, and looks at all such whenever it makes a file (recently_deleted,
// fs/ext4/ialloc.c). The mount goes with the enclosure.
func ownDisk(dir string) error {
	if os.Getenv(enclose.StageVar) == "" {
		return nil
	}
	image := dir + ".img"
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	err = f.Truncate(diskSize)
	f.Close()
	if err != nil {
		return err
	}
	defer os.Remove(image) // the mount keeps it
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, out)
		}
	}
	return os.Chmod(dir, 0o711)
}
