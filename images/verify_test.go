package images

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/imageverifier/bindir"

	"tare/spec"
)

// verifiers makes a directory of shell scripts, by name.
func verifiers(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestVerifiers(t *testing.T) {
	r := newRegistryServer(t, nil)
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	for name, c := range map[string]struct {
		scripts map[string]string
		refusal string // word of the error; empty: accepted
	}{
		"none":             {nil, ""},
		"accepts":          {map[string]string{"a": "echo fine"}, ""},
		"refuses":          {map[string]string{"a": "exit 0", "b": "echo no key; exit 1"}, "verifier b rejected image (exit code 1): no key"},
		"by name":          {map[string]string{"a": `[ "$2" = "` + ref + `" ] || exit 3`}, ""},
		"by other name":    {map[string]string{"a": `[ "$2" = trusted ] || exit 3`}, "exit code 3"},
		"reads descriptor": {map[string]string{"a": `read d; case $d in *"$4"*) ;; *) exit 4; esac`}, ""},
		"says a lot":       {map[string]string{"a": `head -c 1000000 /dev/zero | tr '\0' x; exit 5`}, "(stdout truncated)"},
		"several lines":    {map[string]string{"a": `printf 'one\ntwo\n'; exit 6`}, "one; two"},
		"dies":             {map[string]string{"a": "kill -9 $$"}, "killed"},
		"cannot be run":    {map[string]string{"README": ""}, "permission denied"},
		"takes its time":   {map[string]string{"a": "sleep 60 & wait"}, "killed"},
		"no such program":  {map[string]string{"a": "exec /no/such/program"}, "exit code 127"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := verifiers(t, c.scripts)
			if name == "cannot be run" {
				if err := os.Chmod(filepath.Join(dir, "README"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := openStore(t, Options{VerifierDir: dir})
			if name == "takes its time" {
				s.verifier.programs = bindir.NewImageVerifier(&bindir.Config{BinDir: dir, MaxVerifiers: -1, PerVerifierTimeout: 2e8})
			}
			if c.refusal == "" {
				mustPull(t, s, ref)
				return
			}
			_, err := s.Pull(t.Context(), spec.Pull{Image: ref})
			if !errors.Is(err, spec.ErrSignatureValidationFailed) || !strings.Contains(err.Error(), c.refusal) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%.300v, want refused with %q", err, c.refusal)
			}
			wantNothingLeft(t, s)
		})
	}
}

// An image that is here is verified again for another name, and its tag stays where it was.
func TestVerifiersJudgeNames(t *testing.T) {
	r := newRegistryServer(t, nil)
	img := imageOf(t, layerOf(t, entry{name: "f", body: "x"}))
	good, bad := r.push(t, "good:v1", img), r.push(t, "bad:v1", img)
	s := openStore(t, Options{VerifierDir: verifiers(t, map[string]string{"a": `case $2 in */bad:*) exit 1; esac`})})
	id := mustPull(t, s, good).ID
	if _, err := s.Pull(t.Context(), spec.Pull{Image: bad}); !errors.Is(err, spec.ErrSignatureValidationFailed) {
		t.Error(err)
	}
	if _, err := s.Get(bad); err == nil {
		t.Error("the refused name leads to the image")
	}
	if got, err := s.Get(good); err != nil || got.ID != id {
		t.Errorf("the accepted one: %v, %v", got.ID, err)
	}
}

func TestVerifierDirMustExist(t *testing.T) {
	r, dir := newRegistryServer(t, nil), verifiers(t, nil)
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	s := openStore(t, Options{VerifierDir: dir})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), spec.Pull{Image: ref}); !errors.Is(err, spec.ErrSignatureValidationFailed) {
		t.Errorf("without the directory: %v, want a refusal", err)
	}
	_, err := Open(context.Background(), Options{Root: t.TempDir(), VerifierDir: dir}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "images.verifier_dir") {
		t.Errorf("open: %v", err)
	}
}
