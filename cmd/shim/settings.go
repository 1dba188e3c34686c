package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tare/config"
)

// Where a daemon keeps things unless told otherwise.
const (
	defaultListen = "unix:///run/tare/tare.sock"
	defaultRoot   = "/var/lib/tare"
	defaultState  = "/run/tare"
)

// settings are what a daemon runs with; all paths are absolute.
type settings struct {
	Listen string // unix:///PATH
	Root   string // what survives a boot: images, writable layers, leases of addresses
	State  string // what belongs to this boot: records, sandboxes, keeper
	Config config.Config

	keeper string // executable; not recorded, as it goes with the one that runs
}

// socketPath is the path in a listen address: unix:///PATH, or a bare absolute path.
func socketPath(address string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(address, "unix://"), "unix:")
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("--listen: %q is not of the form unix:///PATH", address)
	}
	return path, nil
}

// keeperBinary is the keeper's executable: the one asked for, else the one beside this one.
func keeperBinary(asked string) (string, error) {
	if asked == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the keeper: %w", err)
		}
		asked = filepath.Join(filepath.Dir(self), "keeper")
	}
	path, err := filepath.Abs(asked)
	if err != nil {
		return "", fmt.Errorf("find the keeper: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find the keeper (build it beside tare, or name it with --keeper): %w", err)
	}
	return path, nil
}

func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
