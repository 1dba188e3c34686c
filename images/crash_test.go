package images

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"tare/spec"
)

// crashRoot and crashRef make this test binary the victim of TestKilledAnywhere.
const (
	crashRoot = "IMAGES_TEST_CRASH_ROOT"
	crashRef  = "IMAGES_TEST_CRASH_REF"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // what containerd's packages log outside of any call
	if root := os.Getenv(crashRoot); root != "" {
		pullForEver(root, os.Getenv(crashRef))
	}
	os.Exit(m.Run())
}

// pullForEver pulls and removes until it is killed.
func pullForEver(root, ref string) {
	s, err := Open(context.Background(), Options{Root: root}, slog.New(slog.DiscardHandler))
	for err == nil {
		if _, err = s.Pull(context.Background(), spec.Pull{Image: ref}); err == nil {
			err = s.Remove(context.Background(), ref)
		}
	}
	println(err.Error())
	os.Exit(1)
}

// A process killed at any moment leaves an image that is whole or none, and nothing besides.
func TestKilledAnywhere(t *testing.T) {
	r, root := newRegistryServer(t, nil), t.TempDir()
	ref := r.push(t, "app:v1", imageOf(t,
		layerOf(t, noise("a", 3<<20)), layerOf(t, noise("b", 1<<20)), layerOf(t, entry{name: "c", body: "x"})))
	for range 12 {
		victim := exec.Command(os.Args[0])
		victim.Env = append(os.Environ(), crashRoot+"="+root, crashRef+"="+ref)
		victim.Stderr = os.Stderr
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*time.Millisecond + rand.N(150*time.Millisecond)) // the moment does not matter
		victim.Process.Kill()
		if err := victim.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Fatalf("victim ended by itself: %v", err)
		}
		checkSurvivor(t, root)
	}
}

// checkSurvivor opens the store a killed process has left, and removes what is in it.
func checkSurvivor(t *testing.T, root string) {
	t.Helper()
	s := openUnclosed(t, Options{Root: root})
	defer s.Close()
	for _, img := range s.List() {
		dirs, err := s.Acquire(context.Background(), img.ID)
		if err != nil || len(dirs) != 3 {
			t.Errorf("layers %v, %v", dirs, err)
			continue
		}
		for i, want := range []int64{1, 1 << 20, 3 << 20} {
			if got := sizeOfFiles(t, dirs[i]); got != want {
				t.Errorf("layer %d holds %d bytes, want %d", i, got, want)
			}
		}
		s.Release(img.ID)
		remove(t, s, string(img.ID))
	}
	if err := s.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, s)
}

func sizeOfFiles(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			st, statErr := e.Info()
			sum, err = sum+st.Size(), statErr
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return sum
}
