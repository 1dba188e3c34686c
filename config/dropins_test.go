package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// place writes files below a directory, and returns the path of config.toml there.
func place(t *testing.T, files map[string]string) (path string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.toml")
}

func TestDropIns(t *testing.T) {
	path := place(t, map[string]string{
		"config.toml":           "[cni]\nbridge = 'main'\nbin_dirs = ['/a', '/b', '/c', '/d']\n[log]\nlevel = 'warn'\n",
		"config.d/20-b.toml":    "cni.bridge = 'twenty'\n",
		"config.d/10-a.toml":    "\n[cni]\nbridge = 'ten'\nbin_dirs = ['/e']\n",
		"config.d/30.toml.orig": "not TOML",
		"config.d/.#40.toml":    "not TOML",
	})
	got, origins, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.CNI.Bridge, want.CNI.BinDirs, want.Log.Level = "twenty", []string{"/e"}, "warn"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	dir := filepath.Dir(path)
	wantOrigins := Origins{
		"cni.bridge":   {filepath.Join(dir, "config.d/20-b.toml"), 1, 1},
		"cni.bin_dirs": {filepath.Join(dir, "config.d/10-a.toml"), 4, 1},
		"log.level":    {path, 5, 1},
	}
	if !reflect.DeepEqual(origins, wantOrigins) {
		t.Errorf("origins %v, want %v", origins, wantOrigins)
	}
}

func TestBadDropIn(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key": "[cni]\nbrigde = 'x'\n", "value": "\ncgroup.driver = 'docker'\n", "not TOML": "\n[cni\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := place(t, map[string]string{"config.toml": "cni.bridge = 'x'\n", "config.d/10.toml": text})
			_, _, err := Load(path)
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range []string{"config.d/10.toml:2:"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not name %q", err, word)
				}
			}
		})
	}
}

// TestDropInThatIsNone: what is no file is refused by its name, and nothing waits for who may write into it.
func TestDropInThatIsNone(t *testing.T) {
	for name, makeIt := range map[string]func(path string) error{
		"directory":   func(path string) error { return os.Mkdir(path, 0o755) },
		"pipe":        func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"loop":        func(path string) error { return os.Symlink(path, path) },
		"link astray": func(path string) error { return os.Symlink("/nowhere", path) },
		"device":      func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		path := place(t, map[string]string{"config.toml": ""})
		dropIn := filepath.Join(filepath.Dir(path), "config.d", "10.toml")
		if err := makeIt(dropIn); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { // ends with the test program, if Load waits for ever
			_, _, err := Load(path)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), dropIn) {
				t.Errorf("%s: error %v, want one that names %s", name, err, dropIn)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: still being read", name)
		}
	}
	path := place(t, map[string]string{"config.toml": ""})
	if err := os.Symlink(os.DevNull, filepath.Join(filepath.Dir(path), "config.d", "10.toml")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err != nil {
		t.Errorf("a link to %s: %v", os.DevNull, err)
	}
}
