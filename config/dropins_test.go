package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
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
