package stats

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// du is what the program of this name says.
func du(t *testing.T, args ...string) uint64 {
	t.Helper()
	out, err := exec.Command("du", append([]string{"-s"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDiskUsage(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", make([]byte, 100<<10), 0o600),
		os.Link(dir+"/file", dir+"/same"),
		os.MkdirAll(dir+"/a/b/c", 0o700),
		os.WriteFile(dir+"/a/b/c/small", []byte("x"), 0),
		os.Symlink("/usr", dir+"/a/elsewhere"),
		os.Symlink("/no/such/file", dir+"/a/nowhere"),
		os.WriteFile(dir+"/sparse", nil, 0o600),
		os.Truncate(dir+"/sparse", 1<<40),
		unix.Mkfifo(dir+"/fifo", 0o600), // opening it would wait
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	unix.Sync()
	bytes, inodes, err := diskUsage(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := du(t, "-B1", dir); bytes != want {
		t.Errorf("%d bytes, du says %d", bytes, want)
	}
	if want := du(t, "--inodes", dir); inodes != want {
		t.Errorf("%d inodes, du says %d", inodes, want)
	}
	if b, i, err := diskUsage(t.Context(), dir+"/none"); b != 0 || i != 0 || err != nil {
		t.Errorf("a layer that is gone: %d, %d, %v", b, i, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := diskUsage(ended, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestDiskUsageOfDeepTree(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, strings.Repeat("d/", 2*maxNesting)) // of less than PATH_MAX
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, inodes, err := diskUsage(t.Context(), dir); err != nil || inodes != maxNesting+1 {
		t.Errorf("%d inodes, %v, want %d", inodes, err, maxNesting+1)
	}
}
