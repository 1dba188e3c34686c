package cgroup

import (
	"os"
	"path"
	"testing"
)

// TestExpect has a container of another runtime end while the next one is expected, whose runtime makes what is missing: nothing
// is left of either.
func TestExpect(t *testing.T) {
	tree := openTree(t, "host")
	var mounts []string
	first, next := Path(path.Join(testRoot, "pod", "first")), Path(path.Join(testRoot, "pod", "next"))
	if err := tree.others(next, func(h *hierarchy, _ string) error {
		mounts = append(mounts, h.mount)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(mounts) == 0 {
		t.Skip("containers are in every hierarchy of this host")
	}
	for _, p := range []Path{first, next} {
		if err := tree.Expect(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.RemoveOthers(first); err != nil {
		t.Fatal(err)
	}
	for _, mount := range mounts { // as runc does
		if err := os.MkdirAll(path.Join(mount, string(next)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.RemoveOthers(next); err != nil {
		t.Fatal(err)
	}
	for _, mount := range mounts {
		if _, err := os.Stat(path.Join(mount, testRoot)); !os.IsNotExist(err) {
			t.Errorf("%s is left in %s: %v", testRoot, mount, err)
		}
	}
}
