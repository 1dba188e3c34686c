package images

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/containerd/errdefs"

	"tare/test/scarce"
)

// TestScarceStart opens a store while there are a few descriptors: it is opened or not, and no image is taken for broken.
func TestScarceStart(t *testing.T) {
	r, o := newRegistryServer(t, nil), Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	mustPull(t, s, ref)
	for spare := range 16 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		restore := scarce.Descriptors(t, spare)
		few, err := Open(context.Background(), o, slog.New(slog.DiscardHandler))
		restore()
		if err == nil {
			err = few.Close()
		}
		s = openUnclosed(t, o)
		if _, gone := s.Get(ref); gone != nil {
			t.Fatalf("with %d descriptors to spare, Open says %v; then: %v", spare, err, gone)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestUnreadableStart opens a store that has a directory in the place of a blob, of which read(2) says EISDIR as it says EIO of a
// failing disk: the store opens without the image, and has it when the blob can be read again.
func TestUnreadableStart(t *testing.T) {
	r, o := newRegistryServer(t, nil), Options{Root: t.TempDir()}
	s := openUnclosed(t, o)
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	blob := blobPath(o, mustPull(t, s, ref).ID)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(blob, o.Root+"/aside"), os.Mkdir(blob, 0o755)); err != nil {
		t.Fatal(err)
	}
	s = openUnclosed(t, o)
	if img, err := s.Get(ref); !errdefs.IsNotFound(err) {
		t.Errorf("what cannot be read is listed: %v, %v", img, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(blob), os.Rename(o.Root+"/aside", blob)); err != nil {
		t.Fatal(err)
	}
	s = openUnclosed(t, o)
	defer s.Close()
	if _, err := s.Get(ref); err != nil {
		t.Error(err)
	}
}
